import math

import pytest
import torch
from torch.nn import functional as F

from dense_ssl.losses import local_contrast, read_cells

B, D, H, W, H2, W2 = 2, 5, 3, 4, 4, 3


def maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def places(seed=3, margin=1.0):
    generator = torch.Generator().manual_seed(seed)
    span = torch.tensor([W2 - 1 + 2 * margin, H2 - 1 + 2 * margin], dtype=torch.float64)
    return torch.rand(B, H * W, 2, generator=generator, dtype=torch.float64) * span - margin


def read(table, x, y):
    """Bilinear reading of a table of numbers at column x, row y, held at the border."""
    height, width = len(table), len(table[0])
    x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
    x0, y0 = min(int(x), width - 2), min(int(y), height - 2)
    a, b = x - x0, y - y0
    top = table[y0][x0] * (1 - a) + table[y0][x0 + 1] * a
    bottom = table[y0 + 1][x0] * (1 - a) + table[y0 + 1][x0 + 1] * a
    return top * (1 - b) + bottom * b


def literal(anchors, candidates, points, valid, temperature):
    """Eq. 2 to 4: the whole map of negative log-likelihoods of each cell, read at its place."""
    losses = []
    for b in range(len(anchors)):
        found = F.normalize(candidates[b], dim=0)
        for k in range(H * W):
            if not valid[b, k]:
                continue
            anchor = F.normalize(anchors[b, :, k // W, k % W], dim=0)
            scores = [[(anchor @ found[:, r, c]).item() / temperature for c in range(W2)]
                      for r in range(H2)]  # fmt: skip
            normaliser = math.log(sum(math.exp(s) for row in scores for s in row))
            table = [[normaliser - s for s in row] for row in scores]
            losses.append(read(table, *points[b, k].tolist()))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("max_entries", [None, 50])
def test_agrees_with_the_literal_equations(max_entries):
    anchors, candidates, points = maps(B, D, H, W), maps(B, D, H2, W2, seed=1), places()
    valid = torch.rand(B, H * W, generator=torch.Generator().manual_seed(4)) < 0.6
    got = local_contrast(anchors, candidates, points, valid, 0.1, max_entries)
    expected = literal(anchors, candidates, points, valid, 0.1)
    assert got.item() == pytest.approx(expected, abs=1e-10)


def test_identical_maps_at_their_own_cells():
    same = torch.eye(9, dtype=torch.float64).view(1, 9, 3, 3)
    y, x = torch.meshgrid(torch.arange(3.0), torch.arange(3.0), indexing="ij")
    own = torch.stack([x, y], dim=-1).view(1, 9, 2).double()
    everywhere = torch.ones(1, 9, dtype=torch.bool)
    right = local_contrast(same, same, own, everywhere, 0.05)
    wrong = local_contrast(same, same, own.flip(1), everywhere, 0.05)
    assert right.item() < 1e-6 and wrong.item() > 10
    blind = torch.ones(1, 4, 3, 3)  # nothing can be told apart
    got = local_contrast(blind, blind, own.float(), everywhere, 0.1)
    assert got.item() == pytest.approx(math.log(9), abs=1e-5)


def test_flipping_the_candidates_and_the_places_changes_nothing():
    anchors, candidates, points = maps(B, D, H, W), maps(B, D, H2, W2, seed=1), places()
    valid = torch.ones(B, H * W, dtype=torch.bool)
    mirrored = points.clone()
    mirrored[..., 0] = W2 - 1 - mirrored[..., 0]
    assert torch.allclose(
        local_contrast(anchors, candidates, points, valid, 0.1),
        local_contrast(anchors, candidates.flip(3), mirrored, valid, 0.1),
    )


def test_order_of_images_does_not_matter():
    anchors, candidates, points = maps(B, D, H, W), maps(B, D, H2, W2, seed=1), places()
    valid = places(5)[..., 0] > 0
    assert torch.allclose(
        local_contrast(anchors, candidates, points, valid, 0.1),
        local_contrast(anchors.flip(0), candidates.flip(0), points.flip(0), valid.flip(0), 0.1),
    )


@pytest.mark.parametrize("max_entries", [None, 30])
def test_gradient(max_entries):
    anchors, candidates = maps(2, 3, 2, 2), maps(2, 3, 2, 3, seed=1).requires_grad_()
    points = places()[:, :4]
    valid = torch.tensor([[True, True, False, True], [True, False, True, True]])
    assert torch.autograd.gradcheck(
        lambda x: local_contrast(anchors, x, points, valid, 0.3, max_entries), (candidates,)
    )


@pytest.mark.parametrize("count", [0, 2])
def test_without_a_valid_cell_a_zero_that_keeps_the_graph(count):
    candidates = torch.randn(count, 3, 2, 2, requires_grad=True)
    loss = local_contrast(torch.randn(count, 3, 2, 2), candidates, torch.zeros(count, 4, 2),
                          torch.zeros(count, 4, dtype=torch.bool), 0.1)  # fmt: skip
    loss.backward()
    assert loss.item() == 0 and candidates.grad.shape == candidates.shape
    assert not candidates.grad.any()


def test_computed_in_float32():
    anchors, candidates = (maps(B, 16, 3, 3, seed=i).bfloat16() for i in range(2))
    points, valid = torch.rand(B, 9, 2) * 2, torch.ones(B, 9, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        got = local_contrast(anchors, candidates, points, valid, 0.1)
    assert got.dtype == torch.float32
    whole = local_contrast(anchors.float(), candidates.float(), points, valid, 0.1)
    assert torch.allclose(got, whole)


def test_reading_cells():
    cells = maps(B, D, H2, W2)
    points = places(6)
    got = read_cells(cells, points)
    for b in range(B):
        for k, (x, y) in enumerate(points[b].tolist()):
            for d in range(D):
                assert got[b, k, d].item() == pytest.approx(read(cells[b, d].tolist(), x, y))


def test_twenty_steps_lower_it():
    anchors, candidates = maps(B, D, H, W), maps(B, D, H2, W2, seed=1).requires_grad_()
    points, valid = places(), torch.ones(B, H * W, dtype=torch.bool)
    first = local_contrast(anchors, candidates, points, valid, 0.2).item()
    optimizer = torch.optim.SGD([candidates], lr=1.0)
    for _ in range(20):
        optimizer.zero_grad()
        local_contrast(anchors, candidates, points, valid, 0.2).backward()
        optimizer.step()
    assert local_contrast(anchors, candidates, points, valid, 0.2).item() < 0.9 * first
