"""Sinkhorn against POT: the exact solver, POT's own iteration, stability."""

import pytest
import torch

from dense_ssl import losses

ot = pytest.importorskip("ot", reason="POT is the oracle of these tests: pip install POT")

B, ROWS, COLUMNS = 4, 12, 9


@pytest.fixture(params=[None, 2], ids=["by logarithms", "scaled"], name="sinkhorn")
def both_forms(request):
    """The function with and without a bound of the costs."""
    return lambda *args: losses.sinkhorn(*args, request.param)


def problem(seed=0, dtype=torch.float64, zeros=0):
    generator = torch.Generator().manual_seed(seed)
    cost = 2 * torch.rand(B, ROWS, COLUMNS, generator=generator, dtype=torch.float64)
    masses = []
    for count in (ROWS, COLUMNS):
        mass = torch.rand(B, count, generator=generator, dtype=torch.float64) + 0.1
        mass[:, :zeros] = 0
        masses.append(mass / mass.sum(dim=1, keepdim=True))
    return [x.to(dtype) for x in (cost, *masses)]


def transported(cost, plan):
    return (cost * plan).sum(dim=(1, 2))


@pytest.mark.parametrize("regularization", [1.0, 0.1, 0.05])
@pytest.mark.parametrize("iterations", [1, 7, 50])
def test_agrees_with_pot_at_equal_settings(sinkhorn, regularization, iterations):
    cost, rows, columns = problem()
    got = sinkhorn(cost, rows, columns, regularization, iterations)
    for i in range(B):
        expected = ot.bregman.sinkhorn_log(
            rows[i].numpy(), columns[i].numpy(), cost[i].numpy(), regularization,
            numItermax=iterations, stopThr=0, warn=False,
        )  # fmt: skip
        assert torch.allclose(got[i], torch.from_numpy(expected), atol=1e-10)


def test_approaches_the_exact_solution(sinkhorn):
    cost, rows, columns = problem(1)
    exact = torch.tensor(
        [ot.emd2(a.numpy(), b.numpy(), c.numpy()) for c, a, b in zip(cost, rows, columns)]
    )
    gaps = []
    for regularization, iterations in ((0.1, 300), (0.03, 1000), (0.005, 4000)):
        plan = sinkhorn(cost, rows, columns, regularization, iterations)
        gaps.append((transported(cost, plan) - exact).abs().max().item())
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 0.002


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_marginals_are_met(sinkhorn, dtype):
    cost, rows, columns = problem(2, dtype)
    plan = sinkhorn(cost, rows, columns, 0.05, 500)
    assert torch.allclose(plan.sum(dim=2), rows, atol=1e-6)
    assert torch.allclose(plan.sum(dim=1), columns, atol=1e-5)
    # for random costs, which are harder than those of features, a tenth of the mass is off after 50
    plan = sinkhorn(cost, rows, columns, 0.05, 50)
    assert torch.allclose(plan.sum(dim=2), rows, atol=1e-6)
    assert (plan.sum(dim=1) - columns).abs().sum(dim=1).max() < 0.1


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("zeros", [0, 3])
@pytest.mark.parametrize("regularization", [0.005, 0.05])
def test_stable_in_float32(sinkhorn, autocast, zeros, regularization):
    cost, rows, columns = problem(3, torch.float32, zeros)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        plan = sinkhorn(cost, rows, columns, regularization, 2000)
    exact = sinkhorn(*problem(3, torch.float64, zeros), regularization, 2000)
    assert plan.dtype == torch.float32 and torch.isfinite(plan).all()
    assert torch.allclose(plan.double(), exact, atol=2e-4)
    if zeros:
        assert plan[:, :zeros].max() < 1e-12 and plan[:, :, :zeros].max() < 1e-12


def test_half_precision_input(sinkhorn):
    cost, rows, columns = problem(4, torch.float32)
    plan = sinkhorn(cost.bfloat16(), rows, columns, 0.05, 50)
    assert plan.dtype == torch.float32 and torch.isfinite(plan).all()


def test_of_one_column_there_is_one_plan(sinkhorn):
    cost, rows, _ = problem(6)
    plan = sinkhorn(cost[:, :, :1], rows, torch.ones(B, 1).double(), 0.05, 3)
    assert torch.allclose(plan[:, :, 0], rows)


def test_order_of_nodes_and_roles_do_not_matter(sinkhorn):
    cost, rows, columns = problem(7)
    plan = sinkhorn(cost, rows, columns, 0.1, 300)
    order = torch.randperm(ROWS)
    moved = sinkhorn(cost[:, order], rows[:, order], columns, 0.1, 300)
    assert torch.allclose(moved, plan[:, order])
    turned = sinkhorn(cost.transpose(1, 2), columns, rows, 0.1, 300)
    assert torch.allclose(turned.transpose(1, 2), plan, atol=1e-7)


def test_gradient_through_the_iterations(sinkhorn):
    cost, rows, columns = (x[:1, :3] if x.dim() == 2 else x[:1, :3, :4] for x in problem(8))
    columns = torch.full((1, 4), 0.25, dtype=torch.float64)
    rows = rows / rows.sum()
    inputs = [x.clone().requires_grad_() for x in (cost, rows, columns)]
    assert torch.autograd.gradcheck(lambda *x: sinkhorn(*x, 0.3, 5), inputs)


def test_empty_batch(sinkhorn):
    plan = sinkhorn(torch.zeros(0, 3, 4), torch.zeros(0, 3), torch.zeros(0, 4), 0.1, 5)
    assert plan.shape == (0, 3, 4)


@pytest.mark.parametrize("size", [20, 83])
def test_both_forms_give_the_same_where_costs_differ_most(size):
    # similar nodes to one side, dissimilar ones to the other, and masses of all sizes
    generator = torch.Generator().manual_seed(9)
    cost = 2 * (torch.rand(2, size, size, generator=generator) < 0.5).double()
    cost[1, :, : size // 2], cost[1, :, size // 2 :] = 0, 2
    masses = [10 ** -(6 * torch.rand(2, size, generator=generator).double()) for _ in range(2)]
    masses = [x / x.sum(dim=1, keepdim=True) for x in masses]
    exact = losses.sinkhorn(cost, *masses, 0.05, 50)
    for dtype, limit in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        plan = losses.sinkhorn(cost.to(dtype), *(x.to(dtype) for x in masses), 0.05, 50, 2)
        assert ((plan.double() - exact).abs() <= limit * exact + 1e-12).all()
