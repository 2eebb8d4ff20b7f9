import math

import pytest
import torch
from torch.nn import functional as F

from dense_ssl.losses import affinity_distillation

B, P, D = 2, 5, 4


def vectors(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def affinities(point, candidates, temperature, left_out=None):
    """Eq. 3 for one point."""
    terms = [
        0.0 if j == left_out else math.exp((point @ x).item() / temperature)
        for j, x in enumerate(candidates)
    ]
    return [x / sum(terms) for x in terms]


def literal(query, key, student, teacher, strategy=1, valid=None, others=None, exclude_self=False):
    """Eq. 4 as loops, for each strategy of section 4.5.2."""
    keep = [True] * query[..., 0].numel() if valid is None else valid.flatten().tolist()
    q, k = (F.normalize(x.flatten(0, 1), dim=1)[keep] for x in (query, key))
    more = [] if others is None else list(F.normalize(others, dim=1))
    teacher_points = {1: k, 2: q, 3: k}[strategy]
    student_candidates = [*{1: k, 2: q, 3: q}[strategy], *more]
    total = 0.0
    for i in range(len(q)):
        left_out = i if exclude_self else None
        goal = affinities(teacher_points[i], [*k, *more], teacher, left_out)
        got = affinities(q[i], student_candidates, student, left_out)
        total -= sum(w * math.log(g) for w, g in zip(goal, got) if w > 0)
    return total / len(q)


def run(query, key, strategy=1, **options):
    arguments = {
        1: {},
        2: {"teacher": query, "candidates": query},
        3: {"candidates": query},
    }[strategy]
    return affinity_distillation(query, key, 0.1, 0.07, **arguments, **options)


@pytest.mark.parametrize("strategy", [1, 2, 3])
@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("max_entries", [None, 25])
def test_agrees_with_the_literal_equation(strategy, exclude_self, max_entries):
    query, key = vectors(B, P, D), vectors(B, P, D, seed=1)
    valid = torch.tensor([[True, True, False, True, True], [True, False, True, True, True]])
    for options in ({}, {"valid": valid}):
        got = run(
            query, key, strategy, exclude_self=exclude_self, max_entries=max_entries, **options
        )
        expected = literal(query, key, 0.1, 0.07, strategy, exclude_self=exclude_self, **options)
        assert got.item() == pytest.approx(expected, abs=1e-11)


def test_further_candidates_agree_with_the_literal_equation():
    query, key, others = vectors(B, P, D), vectors(B, P, D, seed=1), vectors(3, D, seed=2)
    expected = literal(query, key, 0.1, 0.07, others=others)
    assert run(query, key, other_keys=others).item() == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("strategy", [1, 2, 3])
@pytest.mark.parametrize("exclude_self", [False, True])
def test_candidates_of_the_own_image_agree_with_the_literal_equation(strategy, exclude_self):
    query, key = vectors(B, P, D), vectors(B, P, D, seed=1)
    valid = torch.tensor([[True, True, False, True, True], [True, False, True, False, True]])
    got = run(query, key, strategy, valid=valid, negatives="image", exclude_self=exclude_self)
    expected = 0.0
    for i in range(B):
        points = query[i][valid[i]][None], key[i][valid[i]][None]
        expected += len(points[0][0]) * literal(*points, 0.1, 0.07, strategy, exclude_self=exclude_self)  # noqa: E501  # fmt: skip
    assert got.item() == pytest.approx(expected / valid.sum().item(), abs=1e-10)
    nothing = run(query.requires_grad_(), key, strategy, valid=valid & False, negatives="image")
    nothing.backward()
    assert nothing.item() == 0 and not query.grad.any()


def test_lowest_where_student_and_teacher_agree():
    key = vectors(B, P, D)
    entropy = affinity_distillation(key, key, 0.07, 0.07)
    for seed in range(1, 5):
        other = vectors(B, P, D, seed=seed)
        assert affinity_distillation(other, key, 0.07, 0.07) > entropy


def test_no_gradient_reaches_the_teacher():
    query, key = vectors(B, P, D).requires_grad_(), vectors(B, P, D, seed=1).requires_grad_()
    run(query, key).backward()
    assert query.grad.abs().sum() > 0 and key.grad is None
    query.grad = None
    # strategy 2 has the student's points on both sides: only the student's side takes gradient
    run(query, key, 2).backward()
    expected, query.grad = query.grad, None
    affinity_distillation(query, key, 0.1, 0.07, teacher=query.detach(), candidates=query,
                          teacher_candidates=key.detach()).backward()  # fmt: skip
    assert torch.allclose(expected, query.grad) and key.grad is None


@pytest.mark.parametrize("strategy", [1, 3])
@pytest.mark.parametrize("max_entries", [None, 20])
def test_gradient(strategy, max_entries):
    query, key = vectors(2, 3, 3).requires_grad_(), vectors(2, 3, 3, seed=1)
    assert torch.autograd.gradcheck(
        lambda x: run(x, key, strategy, max_entries=max_entries, exclude_self=strategy == 3),
        (query,),
    )


def test_invariant_to_the_order_of_images_and_points():
    query, key = vectors(B, P, D), vectors(B, P, D, seed=1)
    points = torch.randperm(P)
    assert torch.allclose(run(query, key), run(query.flip(0)[:, points], key.flip(0)[:, points]))


@pytest.mark.parametrize("valid", [None, torch.zeros(2, 3, dtype=torch.bool)])
def test_without_points_a_zero_that_keeps_the_graph(valid):
    query = torch.randn(2, 0 if valid is None else 3, 4, requires_grad=True)
    loss = run(query, query.detach().clone(), valid=valid)
    loss.backward()
    assert loss.item() == 0 and query.grad.shape == query.shape
    assert not query.grad.any()


def test_a_point_alone_has_nothing_to_compare_with():
    query = torch.randn(1, 1, 4, requires_grad=True)
    loss = run(query, torch.randn(1, 1, 4), exclude_self=True)
    loss.backward()
    assert loss.item() == 0


def test_computed_in_float32():
    query, key = (vectors(B, P, 16, seed=i).bfloat16() for i in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        got = run(query, key)
    assert got.dtype == torch.float32
    assert torch.allclose(got, run(query.float(), key.float()))
