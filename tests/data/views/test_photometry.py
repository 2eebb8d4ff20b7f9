"""draw_photometry: torchvision's distributions, and always the same number of draws."""

import functools
from collections import Counter

import numpy as np
import pytest

from dense_ssl.data.views.photometry import (
    RESIZE_FACTORS,
    Photometry,
    PhotometrySettings,
    blur_radius,
    draw_photometry,
)

BYOL = {
    "jitter_prob": 0.8,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.2,
    "hue": 0.1,
    "gray_prob": 0.2,
    "blur_prob": 0.5,
    "solarize_prob": 0.2,
}
DRAWS = 4000


@functools.cache
def draws(**settings):
    rng = np.random.default_rng(0)
    settings = PhotometrySettings(**{**BYOL, **settings})
    return [draw_photometry(settings, rng) for _ in range(DRAWS)]


def test_defaults_leave_the_view_as_it_is():
    assert draw_photometry(PhotometrySettings(), np.random.default_rng(0)) == Photometry()


def test_probabilities():
    drawn = draws()
    shares = {
        "jitter": (np.mean([bool(each.jitter) for each in drawn]), 0.8),
        "gray": (np.mean([each.gray for each in drawn]), 0.2),
        "blur": (np.mean([each.blur_sigma > 0 for each in drawn]), 0.5),
        "solarize": (np.mean([each.solarize_threshold is not None for each in drawn]), 0.2),
    }
    for name, (share, probability) in shares.items():
        assert share == pytest.approx(probability, abs=0.03), name


@pytest.mark.parametrize(
    "name, low, high",
    [
        ("brightness", 0.6, 1.4),
        ("contrast", 0.6, 1.4),
        ("saturation", 0.8, 1.2),
        ("hue", -0.1, 0.1),
    ],
)
def test_factors_are_uniform(name, low, high):
    factors = np.sort([dict(each.jitter)[name] for each in draws(jitter_prob=1.0)])
    assert low <= factors[0] and factors[-1] <= high
    # Kolmogorov-Smirnov distance to the uniform distribution; 0.03 is far beyond 1 % significance.
    uniform = (factors - low) / (high - low)
    assert np.abs(uniform - np.arange(DRAWS) / DRAWS).max() < 0.03


def test_factors_stop_at_zero():
    factors = [dict(each.jitter)["brightness"] for each in draws(jitter_prob=1.0, brightness=1.5)]
    assert 0.0 <= min(factors) < 0.01 and 2.49 < max(factors) <= 2.5


def test_every_order_is_equally_likely():
    counts = Counter(tuple(name for name, _ in each.jitter) for each in draws(jitter_prob=1.0))
    assert len(counts) == 24
    assert min(counts.values()) > 0.6 * DRAWS / 24 and max(counts.values()) < 1.4 * DRAWS / 24


def test_operations_of_no_strength_are_left_out():
    names = {name for each in draws(hue=0.0, saturation=0.0) for name, _ in each.jitter}
    assert names == {"brightness", "contrast"}


def test_blur_sigma_is_uniform_and_grows_with_the_view():
    sigmas = np.array([each.blur_sigma for each in draws(blur_prob=1.0)])
    assert 0.1 <= sigmas.min() < 0.12 and 1.98 < sigmas.max() <= 2.0
    assert sigmas.mean() == pytest.approx(1.05, abs=0.03)
    small = np.array([each.blur_sigma for each in draws(blur_prob=1.0, size=112)])
    np.testing.assert_allclose(small, sigmas / 2)


def test_resize_blur_draws_its_factors_equally_often():
    drawn = draws(blur_prob=1.0, blur="resize")
    counts = Counter(each.blur_resize for each in drawn)
    assert set(counts) == set(RESIZE_FACTORS)
    assert min(counts.values()) > 0.3 * DRAWS
    assert all(each.blur_sigma == 0.0 for each in drawn)


def test_same_seed_same_photometry():
    assert draws() == draws.__wrapped__()


@pytest.mark.parametrize(
    "settings",
    [
        PhotometrySettings(),
        PhotometrySettings(**BYOL),
        PhotometrySettings(jitter_prob=1.0, hue=0.1, blur_prob=1.0, blur="resize"),
    ],
)
def test_later_random_numbers_do_not_depend_on_the_settings(settings):
    rng, expected = np.random.default_rng(3), np.random.default_rng(3)
    for _ in range(20):
        draw_photometry(settings, rng)
        expected.random(10)
    assert rng.random() == expected.random()


def test_one_setting_does_not_move_the_others():
    for one, other in zip(draws(), draws(gray_prob=1.0, hue=0.0, solarize_prob=0.0)):
        assert one.blur_sigma == other.blur_sigma
        assert [each for each in one.jitter if each[0] != "hue"] == list(other.jitter)


def test_blur_radius():
    assert blur_radius(100.0, 224, 4.0) == 11  # 23 taps at 224
    assert blur_radius(100.0, 112, 4.0) == 5
    assert blur_radius(1.0, 224, 4.0) == 4
    assert blur_radius(1.0, 224, 3.0) == 3
    assert blur_radius(0.1, 224, 4.0) == 0
