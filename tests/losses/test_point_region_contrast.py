import math

import pytest
import torch
from torch.nn import functional as F

from dense_ssl.losses import point_region_contrast

B, P, D = 3, 6, 4


def vectors(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def regions(seed, low=-1, high=4):
    return torch.randint(low, high, (B, P), generator=torch.Generator().manual_seed(seed))


def literal(query, key, query_region, key_region, temperature, negatives="batch", others=()):
    """Eq. 2 as loops: anchors, their positives, all candidates."""
    q, k = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
    losses = []
    for b in range(len(query)):
        for i in range(P):
            if query_region[b, i] < 0:
                continue
            images = range(len(query)) if negatives == "batch" else [b]
            candidates = [
                (c, j, math.exp((q[b, i] @ k[c, j]).item() / temperature))
                for c in images
                for j in range(P)
                if key_region[c, j] >= 0
            ]
            total = sum(x for _, _, x in candidates)
            total += sum(
                math.exp((q[b, i] @ F.normalize(x, dim=0)).item() / temperature) for x in others
            )
            terms = [
                -math.log(x / total)
                for c, j, x in candidates
                if c == b and key_region[c, j] == query_region[b, i]
            ]
            if terms:
                losses.append(sum(terms) / len(terms))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("negatives", ["batch", "image"])
@pytest.mark.parametrize("max_entries", [None, 30])
@pytest.mark.parametrize("number_of_others", [0, 5])
def test_agrees_with_the_literal_equation(negatives, max_entries, number_of_others):
    query, key = vectors(B, P, D), vectors(B, P, D, seed=1)
    a, b, others = regions(2), regions(3), vectors(number_of_others, D, seed=4)
    got = point_region_contrast(
        query, key, a, b, 0.2, negatives=negatives, max_entries=max_entries,
        other_keys=others if number_of_others else None,
    )  # fmt: skip
    assert got.item() == pytest.approx(literal(query, key, a, b, 0.2, negatives, others), abs=1e-12)


def test_a_region_is_one_of_its_image_alone():
    # region 0 of the first image and region 0 of the second have nothing to do with each other
    query = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    region = torch.zeros(2, 1, dtype=torch.long)
    right = point_region_contrast(query, query, region, region, 0.1)
    wrong = point_region_contrast(query, query.flip(0), region, region, 0.1)
    assert right.item() < 0.001 < 9 < wrong.item()


def test_invariant_to_the_order_of_images_and_points():
    query, key, a, b = vectors(B, P, D), vectors(B, P, D, seed=1), regions(2), regions(3)
    images, points = torch.tensor([2, 0, 1]), torch.tensor([3, 0, 5, 1, 4, 2])
    moved = [x[images] for x in (query, key, a, b)]
    moved[1], moved[3] = moved[1][:, points], moved[3][:, points]
    assert torch.allclose(
        point_region_contrast(query, key, a, b, 0.2), point_region_contrast(*moved, 0.2)
    )


@pytest.mark.parametrize("max_entries", [None, 20])
def test_gradient(max_entries):
    query, key = vectors(2, 4, 3), vectors(2, 4, 3, seed=1)
    a, b = torch.tensor([[0, 1, -1, 1], [0, 0, 2, 3]]), torch.tensor([[0, 1, 1, -1], [0, 2, 2, 0]])
    query.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: point_region_contrast(x, key, a, b, 0.2, max_entries=max_entries), (query,)
    )


@pytest.mark.parametrize("query_region, key_region", [(-1, 0), (0, -1), (0, 1)])
def test_without_positives_a_zero_that_keeps_the_graph(query_region, key_region):
    query = torch.randn(2, 3, 4, requires_grad=True)
    shape = torch.ones(2, 3, dtype=torch.long)
    loss = point_region_contrast(
        query, torch.randn(2, 3, 4), query_region * shape, key_region * shape, 0.2
    )
    loss.backward()
    assert loss.item() == 0 and query.grad.abs().max() == 0


def test_empty_input_keeps_the_graph():
    for shape in ((0, 3, 4), (2, 0, 4)):
        query = torch.zeros(shape, requires_grad=True)
        region = torch.zeros(shape[:2], dtype=torch.long)
        loss = point_region_contrast(query, torch.zeros(shape), region, region, 0.2)
        loss.backward()
        assert loss.item() == 0 and query.grad.shape == shape


def test_computed_in_float32():
    query, key = (vectors(B, P, 16, seed=i).bfloat16() for i in range(2))
    region = regions(2)
    with torch.autocast("cpu", torch.bfloat16):
        got = point_region_contrast(query, key, region, region, 0.07)
    assert got.dtype == torch.float32
    assert torch.allclose(
        got, point_region_contrast(query.float(), key.float(), region, region, 0.07)
    )


def test_unknown_negatives():
    region = torch.zeros(1, 1, dtype=torch.long)
    with pytest.raises(ValueError, match="negatives"):
        point_region_contrast(torch.ones(1, 1, 2), torch.ones(1, 1, 2), region, region, 0.2,
                              negatives="none")  # fmt: skip
