"""Affinity matrices: the identity for an oracle, also under flips, and Eq. 9 by loops."""

import math

import numpy as np
import pytest
import torch
from oracle_maps import GivenSamples, OracleMaps, coordinate_image, places, random_features

from dense_ssl.analysis import views
from dense_ssl.analysis.affinity import Affinity, affinity, diagonal_facts
from dense_ssl.analysis.views import View, random_view

BOX = (48.0, 60.0, 220.0, 200.0)
SMALL = {"side": 128, "cells": 4, "colours": "none", "images": 4, "crop_scale": 0.4}


def measure(maps, count=4, **options):
    samples = GivenSamples([(coordinate_image(256, 256), [BOX])] * count)
    return Affinity(**{**SMALL, **options}).measure(maps, samples)


@pytest.mark.parametrize("flip_prob", [0.0, 0.5])
def test_features_that_are_places_give_the_identity(flip_prob):
    outcome = measure(OracleMaps(places, 8), flip_prob=flip_prob)
    assert outcome.numbers["trace"] == pytest.approx(1, abs=1e-3)
    assert outcome.numbers["found"] == 100 and outcome.numbers["objects"] == 4
    assert outcome.numbers["chance"] == 100 / 16
    assert np.allclose(outcome.drawn[0][2], np.eye(16), atol=1e-2)


def test_cells_that_are_not_put_back_after_a_flip_show(monkeypatch):
    def forgotten(*args):
        view = random_view(*args)
        return View(view.pixels, view.views, False, view.plain)

    monkeypatch.setattr(views, "random_view", forgotten)
    assert measure(OracleMaps(places, 8), flip_prob=0.0).numbers["trace"] > 0.99
    assert measure(OracleMaps(places, 8), flip_prob=0.5).numbers["trace"] < 0.9


@pytest.mark.parametrize("fault", [lambda x: x.transpose(1, 2), lambda x: x.roll(2, dims=2)])
def test_a_fault_of_the_geometry_shows(fault):
    number = iter(range(100))
    # of the two views, the second one
    maps = OracleMaps(lambda x: places(fault(x) if next(number) % 2 else x), 8)
    assert measure(maps).numbers["trace"] < 0.7


def test_random_features_score_chance():
    numbers = measure(OracleMaps(random_features(64), 8), 60, images=60).numbers
    deviation = 100 * (1 / 16 * 15 / 16 / (16 * 60)) ** 0.5
    assert numbers["found"] == pytest.approx(100 / 16, abs=4 * deviation)


def test_the_matrix_is_equation_9():
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (3, 4))
    found = affinity(first, second, 0.3)
    for j in range(4):
        weights = [
            math.exp(float(x @ second[j] / (x.norm() * second[j].norm())) / 0.3) for x in first
        ]
        assert found[:, j].tolist() == pytest.approx([x / sum(weights) for x in weights])


def test_facts_of_a_matrix():
    matrix = torch.tensor([[0.6, 0.5, 0.1], [0.3, 0.4, 0.2], [0.1, 0.1, 0.7]])
    trace, found = diagonal_facts(matrix)
    assert trace == pytest.approx((0.6 + 0.4 + 0.7) / 3) and found == pytest.approx(2 / 3)


def test_both_views_hold_the_box():
    rng = np.random.default_rng(0)
    image = coordinate_image(256, 200)
    for _ in range(20):
        view = random_view(image, 64, (0.1, 1.0), 0.5, "moco", rng, BOX)
        inside = view.views.boxes_to_view(torch.tensor(BOX, dtype=torch.float64)[None, None])
        assert -1e-9 <= inside.min() and inside.max() <= 64 + 1e-9
