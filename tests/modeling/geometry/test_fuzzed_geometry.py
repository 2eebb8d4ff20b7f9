"""Crops, flips, boxes and correspondence on drawn images, views and seeds.

The examples are the same in every run (``derandomize``).
"""

import numpy as np
import pytest
import torch

from dense_ssl.data.views.crops import SAMPLERS, crop_affine, draw_crop, overlap_in_view
from dense_ssl.modeling.geometry.boxes import (
    BOX_SAMPLERS,
    clip_boxes,
    jitter_boxes,
    pairwise_iou,
    sample_boxes,
    shared_region,
)
from dense_ssl.modeling.geometry.correspondence import corresponding_points, nearest_cells
from dense_ssl.structures import Views

pytest.importorskip("hypothesis")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

FUZZ = settings(max_examples=100, derandomize=True, deadline=None, database=None)
SIDES = st.integers(1, 5000)
SEEDS = st.integers(0, 2**62)
SCALES = st.tuples(st.floats(1e-6, 1), st.floats(1e-6, 1)).map(sorted)
RATIOS = st.tuples(st.floats(0.05, 20), st.floats(0.05, 20)).map(sorted)
VIEWS = st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0.001, 1), st.floats(0.001, 1),
                  st.booleans(), st.integers(1, 300))  # fmt: skip


def crop_of(view, width, height):
    """The integer crop of a drawn view: shares of the image's sides."""
    x, y, w, h, _, _ = view
    w, h = max(int(w * width), 1), max(int(h * height), 1)
    return int(x * (width - w)), int(y * (height - h)), w, h


def views_of(view, width, height):
    affine = torch.from_numpy(crop_affine(crop_of(view, width, height), view[5], view[4]))
    return Views(torch.zeros(1, 3, view[5], view[5]), affine[None],
                 image_size=torch.tensor([[width, height]]))  # fmt: skip


@FUZZ
@given(seed=SEEDS, width=SIDES, height=SIDES, scale=SCALES, ratio=RATIOS,
       sampler=st.sampled_from(SAMPLERS))  # fmt: skip
def test_a_crop_lies_in_its_image(seed, width, height, scale, ratio, sampler):
    rng = np.random.default_rng(seed)
    left, top, w, h = draw_crop(rng, width, height, scale, ratio, sampler)
    assert all(isinstance(x, int) for x in (left, top, w, h))
    assert 0 <= left and 0 <= top and w >= 1 and h >= 1
    assert left + w <= width and top + h <= height
    again = np.random.default_rng(seed)
    again.random((10, 4))
    assert rng.random() == again.random()  # the same advance, however many tries


@FUZZ
@given(view=VIEWS, width=SIDES, height=SIDES)
def test_a_view_shows_its_crop_and_maps_back(view, width, height):
    left, top, w, h = crop_of(view, width, height)
    views = views_of(view, width, height)
    expected = torch.tensor([[left, top, left + w, top + h]], dtype=torch.float64)
    assert torch.allclose(views.footprint(), expected, atol=1e-6)
    points = torch.rand(1, 7, 2, dtype=torch.float64,
                        generator=torch.Generator().manual_seed(1)) * view[5]  # fmt: skip
    assert torch.allclose(views.to_view(views.to_image(points)), points, atol=1e-6)
    boxes = torch.cat([points, points + 1], dim=-1)
    back = views.boxes_to_view(views.boxes_to_image(boxes))
    assert torch.allclose(back, boxes, atol=1e-6)


@FUZZ
@given(view=VIEWS, width=SIDES, height=SIDES)
def test_a_flip_mirrors_the_view(view, width, height):
    plain = views_of((*view[:4], False, view[5]), width, height)
    flipped = views_of((*view[:4], True, view[5]), width, height)
    points = torch.tensor([[[0.0, 0.0], [width, height]]], dtype=torch.float64)
    a, b = plain.to_view(points), flipped.to_view(points)
    scale = 1 + a.abs().max()
    assert torch.allclose(a[..., 0], view[5] - b[..., 0], atol=1e-9 * scale)
    assert torch.equal(a[..., 1], b[..., 1])


@FUZZ
@given(first=VIEWS, second=VIEWS, width=SIDES, height=SIDES, seed=SEEDS,
       sampling=st.sampled_from(sorted(BOX_SAMPLERS)), threshold=st.floats(0, 1),
       least=st.floats(0.01, 64))  # fmt: skip
def test_boxes_lie_in_both_views(first, second, width, height, seed, sampling, threshold, least):
    a, b = views_of(first, width, height), views_of(second, width, height)
    region, smallest, usable = shared_region(a, b, least)
    overlap = overlap_in_view(crop_of(first, width, height), crop_of(second, width, height),
                              first[5], second[5])  # fmt: skip
    assert overlap > 0 or not usable.any()
    boxes = sample_boxes(region, smallest, torch.tensor([seed]), 4, sampling, threshold, 5)
    assert boxes.shape == (1, 4, 4)
    if not usable.all():
        return
    assert boxes.isfinite().all()
    edge = 1e-6 * max(width, height)
    assert (boxes[..., :2] >= region[:, None, :2] - edge).all()
    assert (boxes[..., 2:] <= region[:, None, 2:] + edge).all()
    for view, size in ((a, first[5]), (b, second[5])):
        shown = view.boxes_to_view(boxes)
        slack = 1e-6 * (1 + view.zoom.max() * max(width, height))
        assert (shown >= -slack).all() and (shown <= size + slack).all()
        sides = shown[..., 2:] - shown[..., :2]
        assert (sides >= 0).all()
        if sampling == "uniform":
            assert (sides >= least - slack).all()
    iou = pairwise_iou(boxes[:, :, None], boxes[:, :, None].transpose(1, 2))
    assert (iou >= -1e-9).all() and (iou <= 1 + 1e-6).all()


@FUZZ
@given(seed=SEEDS, amount=st.floats(0, 1), corner=st.floats(0, 500), side=st.floats(0.1, 500),
       size=st.integers(1, 600))  # fmt: skip
def test_jittered_and_clipped_boxes_stay_boxes(seed, amount, corner, side, size):
    boxes = torch.tensor([[[corner, corner, corner + side, corner + side]]], dtype=torch.float64)
    moved = jitter_boxes(boxes, amount, torch.tensor([seed]), 3)
    assert moved.isfinite().all()
    clipped = clip_boxes(moved, (size, size))
    assert (clipped >= 0).all() and (clipped <= size).all()
    assert (clipped[..., 2:] >= clipped[..., :2]).all()


@FUZZ
@given(first=VIEWS, second=VIEWS, width=SIDES, height=SIDES, cells=st.tuples(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)))  # fmt: skip
def test_correspondence(first, second, width, height, cells):
    a, b = views_of(first, width, height), views_of(second, width, height)
    here, there = cells[:2], cells[2:]
    points, valid = corresponding_points(a, b, here, there)
    assert points.shape == (1, here[0] * here[1], 2) and points.isfinite().all()
    number = nearest_cells(points, there)
    assert (number >= 0).all() and (number < there[0] * there[1]).all()
    # by hand: the centre of each cell, back to the image, and into the other view
    for i in range(here[0]):
        for j in range(here[1]):
            x, y = (j + 0.5) * first[5] / here[1], (i + 0.5) * first[5] / here[0]
            centre = torch.tensor([[[x, y]]], dtype=torch.float64)
            place = b.to_view(a.to_image(centre))[0, 0]
            expected = torch.stack([place[0] * there[1], place[1] * there[0]]) / second[5] - 0.5
            scale = 1 + expected.abs().max()
            assert torch.allclose(points[0, i * here[1] + j], expected, atol=1e-6 * scale)
    own, shown = corresponding_points(a, a, here, here)
    assert shown.all()
    assert torch.equal(nearest_cells(own, here)[0], torch.arange(here[0] * here[1]))
