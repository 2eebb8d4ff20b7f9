import math

import pytest
import torch
from torch.nn import functional as F

from dense_ssl.losses import emd_distance, marginal_weights, sinkhorn

B, ROWS, COLUMNS, D = 3, 5, 4, 6


def vectors(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def literal_plan(cost, rows, columns, regularization, steps):
    """Eq. 7 to 10 on plain numbers: scalings of exp(-c / gamma)."""
    n, m = len(rows), len(columns)
    kernel = [[math.exp(-cost[i][j] / regularization) for j in range(m)] for i in range(n)]
    u = [1.0] * n
    for _ in range(steps):
        v = [columns[j] / sum(kernel[i][j] * u[i] for i in range(n)) for j in range(m)]
        u = [rows[i] / sum(kernel[i][j] * v[j] for j in range(m)) for i in range(n)]
    return [[u[i] * kernel[i][j] * v[j] for j in range(m)] for i in range(n)]


def literal(x, y, x_mass, y_mass, regularization, iterations):
    """Eq. 11 to 13."""
    x, y = F.normalize(x, dim=2), F.normalize(y, dim=2)
    total = 0.0
    for b in range(len(x)):
        cost = [[1 - (p @ q).item() for q in y[b]] for p in x[b]]
        plan = literal_plan(
            cost, x_mass[b].tolist(), y_mass[b].tolist(), regularization, iterations
        )
        s = sum((1 - cost[i][j]) * plan[i][j] for i in range(len(x[b])) for j in range(len(y[b])))
        total += 2 - 2 * s
    return total / len(x)


def literal_weights(nodes, vector, floor=1e-3):
    """Eq. 15 with the floor, then each row over its sum."""
    result = []
    for rows, v in zip(nodes.tolist(), vector.tolist()):
        raw = [max(sum(a * b for a, b in zip(row, v)), 0.0) for row in rows]
        raw = [x + floor * max(raw) for x in raw] if max(raw) > 0 else [1.0] * len(raw)
        result.append([x / sum(raw) for x in raw])
    return torch.tensor(result, dtype=torch.float64)


def uniform(count):
    return torch.full((B, count), 1 / count, dtype=torch.float64)


@pytest.mark.parametrize("iterations", [1, 30])
def test_agrees_with_the_literal_equations(iterations):
    x, y = vectors(B, ROWS, D), vectors(B, COLUMNS, D, seed=1)
    masses = marginal_weights(x, vectors(B, D, seed=2)), marginal_weights(y, vectors(B, D, seed=3))
    got = emd_distance(x, y, *masses, 0.1, iterations)
    assert got.item() == pytest.approx(literal(x, y, *masses, 0.1, iterations), abs=1e-10)


def test_limits():
    x = vectors(B, 4, D)
    same = uniform(4)
    # equal sets cost nothing as the regularisation vanishes, in whatever order
    order = torch.tensor([2, 0, 3, 1])
    assert emd_distance(x, 3 * x[:, order], same, same, 0.005, 500).item() < 1e-3
    one = torch.ones(B, 1, dtype=torch.float64)
    assert emd_distance(x[:, :1], -x[:, :1], one, one, 0.1, 5).item() == pytest.approx(4)


def test_symmetric_and_invariant_to_order():
    x, y, a, b = (
        vectors(B, ROWS, D),
        vectors(B, COLUMNS, D, seed=1),
        uniform(ROWS),
        uniform(COLUMNS),
    )
    there, back = emd_distance(x, y, a, b, 0.1, 500), emd_distance(y, x, b, a, 0.1, 500)
    assert there.item() == pytest.approx(back.item(), abs=1e-9)
    order = torch.randperm(ROWS)
    assert torch.allclose(there, emd_distance(x[:, order], y, a, b, 0.1, 500))
    assert torch.allclose(there, emd_distance(x.flip(0), y.flip(0), a, b, 0.1, 500))


def test_gradient_is_that_of_the_regularised_transport_cost():
    """The envelope theorem: of <c, pi> - gamma H(pi) at its optimum, pi itself is the gradient."""
    x, y, mass = vectors(1, 3, 3), vectors(1, 3, 3, seed=1), uniform(3)[:1]
    x.requires_grad_()
    emd_distance(x, y, mass, mass, 0.1, 500).backward()
    detached, x.grad = x.grad, None
    cost = 1 - F.normalize(x, dim=2) @ F.normalize(y, dim=2).transpose(1, 2)
    plan = sinkhorn(cost, mass, mass, 0.1, 500)
    ((cost * plan).sum() + 0.1 * (plan * plan.log()).sum()).backward()
    assert torch.allclose(detached, 2 * x.grad, atol=1e-8)


def test_gradient_through_the_plan():
    x, y = vectors(2, 3, 3).requires_grad_(), vectors(2, 2, 3, seed=1)
    a = torch.full((2, 3), 1 / 3, dtype=torch.float64)
    b = torch.full((2, 2), 1 / 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda z: emd_distance(z, y, a, b, 0.2, 6, differentiate_plan=True), (x,)
    )


def test_empty_input_keeps_the_graph():
    x = torch.zeros(0, 3, D, requires_grad=True)
    loss = emd_distance(x, torch.zeros(0, 4, D), torch.zeros(0, 3), torch.zeros(0, 4), 0.1, 5)
    loss.backward()
    assert loss.item() == 0 and x.grad.shape == x.shape
    assert marginal_weights(torch.zeros(0, 3, D), torch.zeros(0, D)).shape == (0, 3)


def test_computed_in_float32():
    x, y = (vectors(B, 4, 16, seed=i).bfloat16() for i in range(2))
    mass = uniform(4).float()
    with torch.autocast("cpu", torch.bfloat16):
        got = emd_distance(x, y, mass, mass, 0.05, 50)
    assert got.dtype == torch.float32
    assert torch.allclose(got, emd_distance(x.float(), y.float(), mass, mass, 0.05, 50))


def test_marginal_weights_agree_with_the_literal_equation():
    nodes, vector = vectors(B, ROWS, D), vectors(B, D, seed=1)
    got = marginal_weights(nodes, vector)
    assert torch.allclose(got, literal_weights(nodes, vector), atol=1e-12)
    assert torch.allclose(got.sum(dim=1), torch.ones(B, dtype=torch.float64))
    assert (got > 0).all()
    # the length of the vector cancels, that of the nodes does not
    assert torch.allclose(got, marginal_weights(nodes, 7 * vector))


def test_marginal_weights_without_agreement_are_uniform():
    nodes = torch.ones(2, 4, 3)
    vector = torch.stack([-torch.ones(3), torch.zeros(3)])
    assert torch.equal(marginal_weights(nodes, vector), torch.full((2, 4), 0.25))


def test_twenty_steps_lower_it():
    x, y = vectors(B, ROWS, D), vectors(B, COLUMNS, D, seed=1)
    x.requires_grad_()
    first = emd_distance(x, y, uniform(ROWS), uniform(COLUMNS), 0.05, 50).item()
    optimizer = torch.optim.SGD([x], lr=3.0)
    for _ in range(20):
        optimizer.zero_grad()
        emd_distance(x, y, uniform(ROWS), uniform(COLUMNS), 0.05, 50).backward()
        optimizer.step()
    assert emd_distance(x, y, uniform(ROWS), uniform(COLUMNS), 0.05, 50).item() < 0.5 * first
