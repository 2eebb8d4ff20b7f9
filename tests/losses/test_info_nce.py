import math

import pytest
import torch

from dense_ssl.losses import contrast_statistics, info_nce


def vectors(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(
        sum(x * x for x in a) * sum(y * y for y in b)
    )


def literal(query, positive, negatives, temperature, weights=None):
    """MoCo Eq. 1 / DUPR Eq. 5 as loops over numbers."""
    total, mass = 0.0, 0.0
    for i, (q, k) in enumerate(zip(query.tolist(), positive.tolist())):
        weight = 1.0 if weights is None else weights[i].item()
        goal = math.exp(cosine(q, k) / temperature)
        others = sum(math.exp(cosine(q, n) / temperature) for n in negatives.tolist())
        total -= weight * math.log(goal / (goal + others))
        mass += weight
    return total / mass


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("max_entries", [None, 20])  # parts of two rows
def test_agrees_with_the_literal_equation(weighted, max_entries):
    query, positive, negatives = vectors(7, 5), vectors(7, 5, seed=1), vectors(9, 5, seed=2)
    weights = vectors(7, seed=3).abs() if weighted else None
    got = info_nce(query, positive, negatives, 0.2, weights, max_entries)
    assert got.dtype == torch.float64
    assert got.item() == pytest.approx(literal(query, positive, negatives, 0.2, weights), abs=1e-12)


@pytest.mark.parametrize("count", [3, 12])  # fewer and more queries than channels
def test_negatives_of_length_1_need_not_be_normalised(count):
    query, positive, negatives = vectors(count, 5), vectors(count, 5, seed=1), vectors(9, 5, seed=2)
    unit = torch.nn.functional.normalize(negatives, dim=1)
    pair = [query.clone().requires_grad_() for _ in range(2)]
    losses = [
        info_nce(pair[0], positive, negatives, 0.2),
        info_nce(pair[1], positive, unit, 0.2, unit_negatives=True),
    ]
    sum(losses).backward()
    assert torch.allclose(*losses, atol=1e-12)
    assert torch.allclose(*(x.grad for x in pair), atol=1e-12)


def test_limits():
    x = torch.eye(4)
    assert info_nce(x, x, torch.zeros(0, 4), 0.2).item() == pytest.approx(0, abs=1e-6)
    assert info_nce(x, x, x[:1].repeat(6, 1), 0.01)[None].shape == (1,)
    same = torch.ones(3, 4)  # nothing can be told apart
    assert info_nce(same, same, torch.ones(9, 4), 0.2).item() == pytest.approx(math.log(10))


def test_order_of_images_and_of_negatives_does_not_matter():
    query, positive, negatives = vectors(6, 4), vectors(6, 4, seed=1), vectors(8, 4, seed=2)
    order, other = torch.randperm(6), torch.randperm(8)
    assert torch.allclose(
        info_nce(query, positive, negatives, 0.1),
        info_nce(query[order], positive[order], negatives[other], 0.1),
    )


@pytest.mark.parametrize("max_entries", [None, 14])
def test_gradient(max_entries):
    query, positive, negatives = vectors(3, 4), vectors(3, 4, seed=1), vectors(6, 4, seed=2)
    weights = torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)
    query.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: info_nce(x, positive, negatives, 0.2, weights, max_entries), (query,)
    )


@pytest.mark.parametrize("max_entries", [None, 14])
def test_gradients_of_all_that_is_not_detached(max_entries):
    leaves = [vectors(n, 4, seed=n).requires_grad_() for n in (3, 3, 6)]
    leaves[1] = vectors(3, 4, seed=9).requires_grad_()
    assert torch.autograd.gradcheck(lambda *x: info_nce(*x, 0.2, None, max_entries), leaves)


@pytest.mark.parametrize("weights", [None, torch.zeros(0)])
def test_empty_input_keeps_the_graph(weights):
    query = torch.zeros(0, 4, requires_grad=True)
    loss = info_nce(query, torch.zeros(0, 4), torch.randn(5, 4), 0.2, weights)
    assert loss.item() == 0
    loss.backward()
    assert query.grad.shape == (0, 4)


def test_all_weights_zero_gives_zero_gradient():
    query = torch.randn(3, 4, requires_grad=True)
    loss = info_nce(query, torch.randn(3, 4), torch.randn(5, 4), 0.2, torch.zeros(3))
    loss.backward()
    assert loss.item() == 0 and query.grad.abs().max() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_computed_in_float32(dtype):
    a, b, c = (vectors(8, 16, seed=i).to(dtype) for i in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        got = info_nce(a, b, c, 0.07)
    assert got.dtype == torch.float32
    assert torch.allclose(got, info_nce(a.float(), b.float(), c.float(), 0.07))


def test_twenty_steps_lower_it():
    query, positive, negatives = (vectors(8, 4, seed=i) for i in range(3))
    query.requires_grad_()
    first = info_nce(query, positive, negatives, 0.2).item()
    optimizer = torch.optim.SGD([query], lr=1.0)
    for _ in range(20):
        optimizer.zero_grad()
        info_nce(query, positive, negatives, 0.2).backward()
        optimizer.step()
    assert info_nce(query, positive, negatives, 0.2).item() < 0.7 * first


def test_statistics_count_ranks():
    query = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    positive = torch.tensor([[1.0, 0.1], [0.0, 1.0]])
    negatives = torch.tensor([[1.0, 0.5], [1.0, 0.6], [-1.0, 0.0]])
    got = contrast_statistics(query, positive, negatives)
    assert got["top1"].item() == 0.5  # the second query's positive comes third
    assert got["top5"].item() == 1.0
    first = 1 / math.sqrt(1.01)
    assert got["positive_similarity"].item() == pytest.approx((first + 0) / 2)
    assert got["hardest_negative"].item() == pytest.approx(1 / math.sqrt(1.25))


def test_a_collapsed_network_finds_nothing():
    same = torch.ones(4, 3)
    assert contrast_statistics(same, same, torch.ones(7, 3))["top5"].item() == 0
