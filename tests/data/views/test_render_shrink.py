"""Shrinking: how near "fast" is to "exact" at all factors, and where the pixels land."""

import numpy as np
import pytest
from helpers import photo

from dense_ssl.data.views.photometry import Photometry
from dense_ssl.data.views.render import get_renderer

SIDE = 48
FACTORS = (1.0, 1.1, 1.25, 1.5, 1.75, 1.9, 1.99, 2.0, 2.01, 2.5, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)


def view_of(backend, image, size=SIDE, interpolation="bicubic"):
    """The whole image as a view without any change of colour."""
    height, width = image.shape[:2]
    return get_renderer(backend)(
        image, (0, 0, width, height), size, interpolation, False, Photometry()
    ).astype(int)


def distance(image, interpolation):
    """Mean absolute difference of the backends in grey levels."""
    views = [view_of(x, image, interpolation=interpolation) for x in ("fast", "exact")]
    return np.abs(views[0] - views[1]).mean()


@pytest.mark.parametrize("interpolation", ("bicubic", "bilinear"))
@pytest.mark.parametrize("factor", FACTORS)
def test_fast_is_near_exact_at_all_factors(factor, interpolation):
    image = photo(np.random.default_rng(2), round(SIDE * factor), round(SIDE * factor))
    assert distance(image, interpolation) <= (5.0 if factor < 2 else 0.0)


@pytest.mark.parametrize("width, height", [(6, 1), (1, 6), (2, 1.5), (0.5, 3)])
def test_one_side_that_shrinks_is_enough_for_antialias(width, height):
    image = photo(np.random.default_rng(3), int(SIDE * width), int(SIDE * height))
    assert distance(image, "bicubic") == 0


@pytest.mark.parametrize("backend", ("fast", "exact"))
@pytest.mark.parametrize("factor", (1.9, 1.99, 2.01, 2.1))
def test_a_view_shows_local_means_on_both_sides_of_the_change(backend, factor):
    """Without noise, every pixel is near the mean of the pixels that it covers."""
    side = round(SIDE * factor)
    image = photo(np.random.default_rng(4), side, side)
    sums = np.pad(image.astype(float).cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0)))
    edges = np.linspace(0, side, SIDE + 1)
    for axis in (0, 1):  # the integral of the image up to each edge, then differences of it
        sums = np.apply_along_axis(
            lambda x: np.diff(np.interp(edges, np.arange(side + 1), x)), axis, sums
        )
    assert np.abs(view_of(backend, image) - sums / (side / SIDE) ** 2).mean() < 5


@pytest.mark.parametrize("backend", ("fast", "exact"))
@pytest.mark.parametrize("interpolation", ("bicubic", "bilinear"))
@pytest.mark.parametrize("size", (320, 240, 120, 40))
def test_edges_stay_in_place_however_much_a_view_shrinks(backend, interpolation, size):
    image = np.zeros((480, 480, 3), np.uint8)
    image[60:180, 120:240] = 255
    view = view_of(backend, image, size, interpolation)
    columns, rows = (np.flatnonzero((view[..., 0] > 127).any(axis)) for axis in (0, 1))
    assert (rows[0] * 480, (rows[-1] + 1) * 480) == (60 * size, 180 * size)
    assert (columns[0] * 480, (columns[-1] + 1) * 480) == (120 * size, 240 * size)
