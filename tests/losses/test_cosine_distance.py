import math

import pytest
import torch

from dense_ssl.losses import cosine_distance


def literal(prediction, target, weights=None):
    """BYOL Eq. 2 / SCRL Eq. 2 as loops over numbers."""
    total, mass = 0.0, 0.0
    for i, (p, t) in enumerate(zip(prediction.tolist(), target.tolist())):
        p_norm = math.sqrt(sum(x * x for x in p))
        t_norm = math.sqrt(sum(x * x for x in t))
        weight = 1.0 if weights is None else weights[i].item()
        total += weight * sum((a / p_norm - b / t_norm) ** 2 for a, b in zip(p, t))
        mass += weight
    return total / mass


@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_the_literal_equation(weighted):
    torch.manual_seed(0)
    prediction, target = torch.randn(2, 7, 5, dtype=torch.float64)
    weights = torch.rand(7, dtype=torch.float64) if weighted else None
    got = cosine_distance(prediction, target, weights)
    assert got.dtype == torch.float64
    assert got.item() == pytest.approx(literal(prediction, target, weights), abs=1e-12)


def test_limits():
    x = torch.randn(4, 3)
    assert cosine_distance(x, 5 * x).item() == pytest.approx(0, abs=1e-6)
    assert cosine_distance(x, -x).item() == pytest.approx(4, abs=1e-6)
    assert cosine_distance(torch.eye(3), torch.eye(3).roll(1, 0)).item() == pytest.approx(2)


def test_symmetric_and_invariant_to_row_order():
    a, b = torch.randn(2, 6, 4, dtype=torch.float64)
    order = torch.randperm(6)
    assert torch.allclose(cosine_distance(a, b), cosine_distance(b, a))
    assert torch.allclose(cosine_distance(a, b), cosine_distance(a[order], b[order]))


def test_gradient():
    torch.manual_seed(1)
    a, b = torch.randn(2, 3, 4, dtype=torch.float64)
    a.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: cosine_distance(x, b), (a,))
    weights = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: cosine_distance(x, b, weights), (a,))


@pytest.mark.parametrize("weights", [None, torch.zeros(0)])
def test_empty_input_keeps_the_graph(weights):
    a = torch.zeros(0, 4, requires_grad=True)
    loss = cosine_distance(a, torch.zeros(0, 4), weights)
    assert loss.item() == 0
    loss.backward()
    assert a.grad.shape == (0, 4)


def test_all_weights_zero_gives_zero_gradient():
    a = torch.randn(3, 4, requires_grad=True)
    loss = cosine_distance(a, torch.randn(3, 4), torch.zeros(3))
    loss.backward()
    assert loss.item() == 0 and a.grad.abs().max() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_computed_in_float32(dtype):
    a, b = torch.randn(2, 8, 16).to(dtype)
    got = cosine_distance(a, b)
    assert got.dtype == torch.float32
    assert torch.allclose(got, cosine_distance(a.float(), b.float()))


def test_twenty_steps_lower_it():
    torch.manual_seed(2)
    a, b = torch.randn(2, 8, 4)
    a.requires_grad_()
    first = cosine_distance(a, b).item()
    optimizer = torch.optim.SGD([a], lr=1.0)
    for _ in range(20):
        optimizer.zero_grad()
        cosine_distance(a, b).backward()
        optimizer.step()
    assert cosine_distance(a, b).item() < 0.7 * first
