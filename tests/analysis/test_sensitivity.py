"""The curve of similarity over IoU is that of a known kernel; which boxes it is measured on."""

import math

import numpy as np
import pytest
import torch
from oracle_maps import GivenSamples, OracleMaps, coordinate_image, places

from dense_ssl.analysis.sensitivity import (
    Sensitivity,
    choose_box,
    draw_rois,
    iou_with,
    roi_similarity,
    summarise,
)

WIDTH, HEIGHT, SIDE, CELLS = 256, 192, 256, 4
BOX = (64.0, 48.0, 160.0, 144.0)


def kernel(box, roi, cells, turn):
    """Eq. 8 for features (cos, sin) of ``turn`` x and y, by loops: the mean of cos over both."""
    total = 0.0
    for i in range(cells):
        for j in range(cells):
            cosines = []
            for axis, size, k in ((0, WIDTH, j), (1, HEIGHT, i)):
                a, b = (x[axis] + (k + 0.5) * (x[axis + 2] - x[axis]) / cells for x in (box, roi))
                cosines.append(math.cos(turn * (a - b) / size))
            total += sum(cosines) / 2
    return total / cells**2


def measure(image=None, boxes=(BOX,), **options):
    """The outcome of an oracle with a fine map."""
    image = coordinate_image(WIDTH, HEIGHT) if image is None else image
    options = {"side": SIDE, "cells": CELLS, "rois": 12, **options}
    maps = OracleMaps(places, stride=4)
    return Sensitivity(**options).measure(maps, GivenSamples([(image, list(boxes))]))


def test_a_known_kernel_gives_its_curve():
    _, box, rois, ious, found = measure().drawn
    assert tuple(box) == BOX
    expected = [kernel(box, roi, CELLS, math.pi) for roi in rois]
    # the oracle sees whole grey levels, and cells of 4 pixels
    assert found.tolist() == pytest.approx(expected, abs=5e-3)
    assert max(expected) - min(expected) > 0.1
    for roi, iou in zip(rois, ious):
        assert iou == pytest.approx(literal_iou(box, roi))


@pytest.mark.parametrize("shift", [(16, 0), (0, 16)])
def test_boxes_pooled_at_the_wrong_place_do_not_fit_the_kernel(shift):
    _, box, rois, _, found = measure().drawn
    moved = rois + np.array([*shift, *shift])
    expected = np.array([kernel(box, roi, CELLS, math.pi) for roi in moved])
    assert np.abs(found - expected).max() > 0.02


def literal_iou(a, b):
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return width * height / (sum(areas) - width * height)


@pytest.mark.parametrize("box", [BOX, (2.0, 3.0, 20.0, 40.0), (100.0, 10.0, 250.0, 180.0)])
def test_drawn_boxes_cover_all_ious_inside_the_image(box):
    box = np.array(box)
    rois, ious = draw_rois(box, (WIDTH, HEIGHT), 20, np.random.default_rng(0))
    assert rois.min() >= 0 and (rois[:, 2:] <= [WIDTH, HEIGHT]).all()
    assert ((rois[:, 2:] - rois[:, :2]) > 0).all()
    assert np.allclose(ious, iou_with(box, rois))
    # one box for each twentieth
    assert ((ious * 20).astype(int) == np.arange(20)).mean() >= 0.9
    again = draw_rois(box, (WIDTH, HEIGHT), 20, np.random.default_rng(0))
    assert np.array_equal(rois, again[0])


def test_an_object_that_fills_the_image_still_gets_boxes():
    box = np.array([0.0, 0.0, WIDTH, HEIGHT])
    _, ious = draw_rois(box, (WIDTH, HEIGHT), 20, np.random.default_rng(0))
    assert ious.min() > 0 and ious.max() > 0.9


def test_similarity_is_the_mean_of_cosines_of_the_same_cells():
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(9, 5, generator=generator, dtype=torch.float64)
    others = torch.randn(3, 9, 5, generator=generator, dtype=torch.float64)
    expected = [
        sum(
            float(a @ b / (a.norm() * b.norm()))
            for a, b in zip(reference, other)
        ) / 9
        for other in others
    ]  # fmt: skip
    assert roi_similarity(reference, others).tolist() == pytest.approx(expected)
    assert roi_similarity(reference, 3 * reference[None]).tolist() == pytest.approx([1.0])


def test_the_curve_is_that_of_a_line():
    ious = np.linspace(0, 1, 1001)
    found = summarise(ious, 0.2 + 0.7 * ious, 10)
    assert found["iou"] == pytest.approx([0.05 + 0.1 * i for i in range(10)])
    expected = [0.2 + 0.7 * x for x in found["iou"]]
    assert found["similarity"] == pytest.approx(expected, abs=1e-3)
    assert found["slope"] == pytest.approx(0.7)
    assert found["above_0.5"] == pytest.approx(0.2 + 0.7 * 0.75, abs=1e-3)
    assert found["below_0.3"] == pytest.approx(0.2 + 0.7 * 0.15, abs=1e-3)
    assert found["contrast"] == pytest.approx(0.42, abs=1e-3)
    assert sum(found["count"]) == 1001


def test_empty_bins_have_no_value():
    found = summarise(np.array([0.55, 0.95]), np.array([0.5, 1.0]), 10)
    assert found["count"] == [0] * 5 + [1] + [0] * 3 + [1]
    assert found["similarity"][0] is None and found["similarity"][9] == 1.0
    assert found["below_0.3"] is None and found["contrast"] is None


def test_small_objects_are_left_out():
    image = coordinate_image(WIDTH, HEIGHT)
    (sample,) = GivenSamples([(image, [(0, 0, 10, 10), BOX])])
    # BOX is 96 x 128 pixels of the square, the other one 10 x 13
    assert tuple(choose_box(sample, SIDE, 32)) == BOX
    assert choose_box(sample, SIDE, 97) is None
    with pytest.raises(ValueError, match="lower --min-side"):
        measure(min_side=97)
