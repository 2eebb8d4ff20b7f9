import math

import pytest
import torch

from dense_ssl.losses import info_nce, nt_xent


def vectors(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(
        sum(x * x for x in a) * sum(y * y for y in b)
    )


def literal_simclr(rows, temperature):
    """SimCLR Eq. 1 and its mean over all rows; rows 2k - 1 and 2k are a pair."""
    rows, terms = rows.tolist(), []
    for i, x in enumerate(rows):
        goal = math.exp(cosine(x, rows[i ^ 1]) / temperature)
        total = sum(math.exp(cosine(x, y) / temperature) for k, y in enumerate(rows) if k != i)
        terms.append(-math.log(goal / total))
    return sum(terms) / len(terms)


def literal(query, positive, candidates, query_groups, candidate_groups, temperature, weights):
    total = 0.0
    for i, q in enumerate(query.tolist()):
        goal = math.exp(cosine(q, positive[i].tolist()) / temperature)
        others = sum(
            math.exp(cosine(q, c) / temperature)
            for c, g in zip(candidates.tolist(), candidate_groups.tolist())
            if g not in (query_groups[i].item(), -1)
        )
        total -= weights[i].item() * math.log(goal / (goal + others))
    return total / weights.sum().item()


@pytest.mark.parametrize("max_entries", [None, 40])
def test_every_other_row_is_a_negative_in_simclr(max_entries):
    rows = vectors(12, 5)
    groups = torch.arange(12) // 2
    partner = rows[torch.arange(12) ^ 1]
    got = nt_xent(rows, partner, rows, groups, groups, 0.1, max_entries=max_entries)
    assert got.dtype == torch.float64
    assert got.item() == pytest.approx(literal_simclr(rows, 0.1), abs=1e-12)


GROUPS = torch.tensor([0, 0, 1, 2, 1, 2, 0]), torch.tensor([0, 1, 2, -1, 1, 0, 3, 2, -1])


@pytest.mark.parametrize("max_entries", [None, 20])
def test_groups_and_weights(max_entries):
    query, positive, candidates = vectors(7, 4), vectors(7, 4, seed=1), vectors(9, 4, seed=2)
    weights = torch.tensor([1.0, 0.0, 2.0, 1.0, 0.5, 0.0, 3.0], dtype=torch.float64)
    args = (query, positive, candidates, *GROUPS, 0.2, weights)
    assert nt_xent(*args, max_entries).item() == pytest.approx(literal(*args), abs=1e-12)


def test_without_common_groups_it_is_info_nce():
    query, positive, candidates = vectors(7, 4), vectors(7, 4, seed=1), vectors(9, 4, seed=2)
    got = nt_xent(query, positive, candidates, torch.zeros(7), torch.ones(9), 0.2)
    assert got.item() == pytest.approx(info_nce(query, positive, candidates, 0.2).item(), abs=1e-12)


@pytest.mark.parametrize("max_entries", [None, 20])
def test_gradients_reach_queries_positives_and_candidates(max_entries):
    leaves = [vectors(*x, seed=s).requires_grad_() for s, x in enumerate([(7, 3), (7, 3), (9, 3)])]

    def loss(*leaves):
        return nt_xent(*leaves, *GROUPS, 0.5, max_entries=max_entries)

    assert torch.autograd.gradcheck(loss, leaves)
    for gradient in torch.autograd.grad(loss(*leaves), leaves):
        assert gradient.abs().sum() > 0


def test_no_query_gives_a_zero_that_keeps_the_graph():
    query = vectors(4, 3).requires_grad_()
    for rows, weights in ((query[:0], None), (query, torch.zeros(4))):
        groups = torch.arange(len(rows))
        loss = nt_xent(rows, rows, query, groups, torch.arange(4), 0.1, weights)
        loss.backward()
        assert loss.item() == 0 and torch.isfinite(query.grad).all()


def test_half_precision_is_computed_in_float32():
    x = vectors(6, 4).bfloat16()
    groups = torch.arange(6) // 2
    with torch.autocast("cpu", torch.bfloat16):
        got = nt_xent(x, x.flip(0), x, groups, groups, 0.1)
    assert got.dtype == torch.float32
    expected = nt_xent(x.float(), x.float().flip(0), x.float(), groups, groups, 0.1)
    assert torch.equal(got, expected)
