import numpy as np
import pytest
import torch
from literal_boxes import boxes_of_image, iou, uniform_box

from dense_ssl.modeling.geometry import boxes as box_ops
from dense_ssl.modeling.geometry.random_numbers import uniform
from dense_ssl.structures import Views

N, K = 400, 10


def regions(seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(N, 2, generator=generator, dtype=torch.float64) * 100
    sides = 60 + torch.rand(N, 2, generator=generator, dtype=torch.float64) * 200
    return torch.cat([corner, corner + sides], 1), torch.full((N, 2), 32.0, dtype=torch.float64)


def test_uniform_boxes_agree_with_eq_1():
    region, smallest = regions()
    numbers = uniform(torch.arange(N), (3, 4))
    got = box_ops.uniform_boxes(region, smallest, numbers)
    for i in range(0, N, 37):
        for j in range(3):
            expected = uniform_box(region[i].tolist(), smallest[i].tolist(), numbers[i, j].tolist())
            assert got[i, j].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 1.0])
def test_sampling_agrees_with_the_sequential_loop(threshold):
    region, smallest = regions(1)
    seeds = torch.arange(N) * 7919
    tries = 6 if threshold < 1 else 1
    got = box_ops.sample_boxes(region, smallest, seeds, K, "uniform", threshold, 6)
    numbers = uniform(seeds, (K, tries, 4))
    for i in range(0, N, 23):
        drawn = region[i].tolist(), smallest[i].tolist(), numbers[i].tolist()
        expected = boxes_of_image(*drawn, uniform_box, threshold)
        assert np.allclose(got[i].numpy(), expected)


@pytest.mark.parametrize("sampling", ["uniform", "grid"])
def test_boxes_lie_inside_and_are_large_enough(sampling):
    region, smallest = regions(2)
    got = box_ops.sample_boxes(region, smallest, torch.arange(N), K, sampling, 0.5, 50)
    assert (got[..., :2] >= region[:, None, :2] - 1e-9).all()
    assert (got[..., 2:] <= region[:, None, 2:] + 1e-9).all()
    assert (got[..., 2:] - got[..., :2] >= 32 - 1e-9).all()


def test_rejection_keeps_boxes_apart():
    # a large region, where ten boxes find room
    region = torch.tensor([[0.0, 0.0, 500.0, 500.0]]).repeat(N, 1).double()
    smallest = torch.full((N, 2), 32.0).double()
    eye = torch.eye(K, dtype=torch.bool)
    for threshold, most in ((0.5, 0.5), (1.0, 1.0)):
        got = box_ops.sample_boxes(region, smallest, torch.arange(N), K, "uniform", threshold, 50)
        worst = box_ops.pairwise_iou(got, got)[:, ~eye].max()
        assert worst <= most
    assert worst > 0.5  # without rejection some are closer


def test_grid_boxes_are_smaller():
    # methods: 0.28 of the intersection by Eq. 1, 0.13 on the grid, at ImageNet-like sizes
    region, smallest = regions(3)
    area = {}
    for sampling in ("uniform", "grid"):
        got = box_ops.sample_boxes(region, smallest, torch.arange(N), K, sampling, 1.0, 1)
        whole = (region[:, 2:] - region[:, :2]).prod(1)
        area[sampling] = ((got[..., 2:] - got[..., :2]).prod(-1) / whole[:, None]).mean()
    assert area["grid"] < 0.75 * area["uniform"]


def test_an_image_does_not_depend_on_its_batch():
    region, smallest = regions(4)
    seeds = torch.arange(N) + 11
    whole = box_ops.sample_boxes(region, smallest, seeds, K, "uniform", 0.5, 50)
    rows = torch.tensor([3, 200, 17])
    part = box_ops.sample_boxes(region[rows], smallest[rows], seeds[rows], K, "uniform", 0.5, 50)
    assert torch.equal(whole[rows], part)


def test_smallest_box_is_measured_in_the_view_of_lower_zoom():
    images = torch.zeros(1, 3, 224, 224)
    first = Views(images, torch.tensor([[2.0, 0.0, 1.0, 0.0]]))
    second = Views(images, torch.tensor([[-1.0, 224.0, 4.0, 0.0]]))
    smallest = box_ops.smallest_box(first, second, 32.0)
    assert smallest.tolist() == [[32.0, 32.0]]
    region = torch.tensor([[0.0, 0.0, 33.0, 32.0]])
    assert not box_ops.holds_boxes(region, smallest).item()  # strictly more is needed
    assert box_ops.holds_boxes(region + torch.tensor([0, 0, 0, 1.0]), smallest).item()


@pytest.mark.parametrize("second, kept", [([0, 0, 1, 1], True), ([0, 0, 1.01, 1], False)])
def test_a_candidate_is_rejected_above_the_threshold_and_not_at_it(monkeypatch, second, kept):
    """SCRL, section 3.1: reject a candidate if the IoU is larger than 50 %."""
    far = [5, 5, 6, 6]
    drawn = torch.tensor([[[[0, 0, 2, 1]] * 2, [second, far]]], dtype=torch.float64)  # (1, 2, 2, 4)
    assert (iou([0, 0, 2, 1], second) == 0.5) == kept
    monkeypatch.setitem(box_ops.BOX_SAMPLERS, "given", (lambda *args: drawn, 1))
    got = box_ops.sample_boxes(None, None, torch.zeros(1, dtype=torch.int64), 2, "given", 0.5, 2)
    assert got[0, 1].tolist() == (second if kept else far)


def literal_jitter(box, amount, numbers):
    """(x, y, w, h) of Eq. 1, each changed by a share of the box's size."""
    x, y, w, h = box[0], box[1], box[2] - box[0], box[3] - box[1]
    moves = [(2 * u - 1) * amount for u in numbers]
    x, y, w, h = x + moves[0] * w, y + moves[1] * h, w * (1 + moves[2]), h * (1 + moves[3])
    return [x, y, x + w, y + h]


def test_jitter_changes_position_and_sides():
    region, smallest = regions(6)
    seeds = torch.arange(N)
    drawn = box_ops.sample_boxes(region, smallest, seeds, K, "uniform", 1.0, 1)
    got = box_ops.jitter_boxes(drawn, 0.2, seeds, stream=3)
    numbers = uniform(seeds, (K, 4), 3)
    for i in range(0, N, 37):
        for k in range(K):
            expected = literal_jitter(drawn[i, k].tolist(), 0.2, numbers[i, k].tolist())
            assert got[i, k].tolist() == pytest.approx(expected)


def test_jitter_is_bounded_and_differs_between_views():
    region, smallest = regions(5)
    drawn = box_ops.sample_boxes(region, smallest, torch.arange(N), K, "uniform", 1.0, 1)
    first, second = (box_ops.jitter_boxes(drawn, 0.1, torch.arange(N), stream=s) for s in (2, 3))
    sides = (drawn[..., 2:] - drawn[..., :2]).repeat(1, 1, 2)
    assert ((first - drawn).abs()[..., :2] <= 0.1 * sides[..., :2] + 1e-9).all()
    assert ((first - drawn).abs()[..., 2:] <= 0.2 * sides[..., 2:] + 1e-9).all()
    assert ((first - second).abs().amax(-1) > 1e-6).all()
    ratio = (first[..., 2:] - first[..., :2]) / sides[..., :2]
    assert 0.9 - 1e-9 <= ratio.min() and ratio.max() <= 1.1 + 1e-9


def test_empty_batch():
    got = box_ops.sample_boxes(
        torch.zeros(0, 4),
        torch.zeros(0, 2),
        torch.zeros(0, dtype=torch.int64),
        K,
        "uniform",
        0.5,
        5,
    )
    assert got.shape == (0, K, 4)
