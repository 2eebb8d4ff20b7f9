"""Random resized crops: torchvision's distribution, and the crops of BYOL's code."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop

from dense_ssl.data.views.crops import SAMPLERS, draw_crop

RATIO, DRAWS = (3 / 4, 4 / 3), 3000
# of the last two, some and all crops are the centre crop
SHAPES = [(640, 480), (500, 333), (1000, 400), (1200, 200), (1000, 100)]
SCALES = [(0.08, 1.0), (0.2, 1.0), (0.12, 0.6)]


def crops_of(sampler, shape, scale, ratio=RATIO, draws=DRAWS):
    """(draws, 4) of left, top, width and height."""
    rng = np.random.default_rng(5)
    return np.array([draw_crop(rng, *shape, scale, ratio, sampler) for _ in range(draws)])


@cache
def torchvisions(shape, scale):
    """The same from torchvision itself."""
    image = torch.empty(()).expand(3, shape[1], shape[0])
    with torch.random.fork_rng():
        torch.manual_seed(3)
        params = [RandomResizedCrop.get_params(image, scale, RATIO) for _ in range(DRAWS)]
    return np.array([(left, top, width, height) for top, left, height, width in params])


def quantities(crops):
    left, top, width, height = crops.T
    return {"area": width * height, "aspect": width / height, "left": left, "top": top,
            "width": width, "height": height}  # fmt: skip


def least_p(crops, reference):
    """The smallest p-value of Kolmogorov and Smirnov's test over all quantities."""
    a, b = quantities(crops), quantities(reference)
    return min(ks_2samp(a[x], b[x], method="asymp").pvalue for x in a)


@pytest.mark.parametrize("shape", [*SHAPES, *((h, w) for w, h in SHAPES)])
@pytest.mark.parametrize("scale", SCALES)
def test_crops_are_distributed_as_torchvisions(shape, scale):
    assert least_p(crops_of("torchvision", shape, scale), torchvisions(shape, scale)) > 1e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_clamped_crops_are_not(shape):
    scale = (0.2, 1.0)
    assert least_p(crops_of("clamp", shape, scale), torchvisions(shape, scale)) < 1e-6


@pytest.mark.parametrize("shape, sampler, area, spanned", [
    ((640, 480), "torchvision", 0.496, 0.005), ((640, 480), "clamp", 0.578, 0.31),
    ((500, 333), "torchvision", 0.452, 0.009), ((500, 333), "clamp", 0.562, 0.41),
])  # fmt: skip
def test_clamping_makes_crops_larger(shape, sampler, area, spanned):
    """The figures that the docs give: mean share of the image; crops that span a whole side."""
    _, _, width, height = crops_of(sampler, shape, (0.2, 1.0)).T
    assert (width * height).mean() / np.prod(shape) == pytest.approx(area, abs=0.02)
    whole = (width == shape[0]) | (height == shape[1])
    assert whole.mean() == pytest.approx(spanned, abs=0.03)


@pytest.mark.parametrize("shape", SHAPES)
def test_samplers_differ_only_where_a_crop_does_not_fit(shape):
    ours, clamped = (crops_of(x, shape, (0.2, 1.0), draws=500) for x in SAMPLERS)
    fits = (clamped[:, 2] < shape[0]) & (clamped[:, 3] < shape[1])
    np.testing.assert_array_equal(ours[fits], clamped[fits])
    assert (ours[~fits] != clamped[~fits]).any(axis=1).mean() > 0.8


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_crop_advances_the_generator_by_the_same_amount(sampler):
    rng, expected = np.random.default_rng(1), np.random.default_rng(1)
    for shape in SHAPES:
        draw_crop(rng, *shape, (0.2, 1.0), RATIO, sampler)
        expected.random(40)
    assert rng.random() == expected.random()


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (3, 2)])
def test_tiny_images_have_crops_inside_them(sampler, shape):
    left, top, width, height = crops_of(sampler, shape, (0.08, 1.0), draws=200).T
    assert min(left.min(), top.min()) >= 0 and min(width.min(), height.min()) >= 1
    assert (left + width).max() <= shape[0] and (top + height).max() <= shape[1]


def test_crops_that_never_fit_become_the_centre_crop():
    rng = np.random.default_rng(0)
    assert draw_crop(rng, 1000, 100, (0.2, 1.0), RATIO) == (433, 0, 133, 100)
    assert draw_crop(rng, 100, 1000, (0.2, 1.0), RATIO) == (0, 433, 100, 133)
    assert draw_crop(rng, 50, 30, (1.0, 1.0), (5 / 3, 5 / 3)) == (0, 0, 50, 30)
    assert draw_crop(rng, 200, 100, (1.0, 1.0), (4.0, 4.0)) == (0, 25, 200, 50)
    assert draw_crop(rng, 1000, 100, (1.0, 1.0), (1.0, 1.0), "clamp")[2:] == (316, 100)
