"""The health of features: spectra and distances with known values."""

import numpy as np
import pytest
import torch
from detectron2.utils.events import EventStorage

from dense_ssl.analysis.health import (
    alignment,
    effective_rank,
    singular_values,
    spread,
    uniformity,
)
from dense_ssl.utils import events


@pytest.mark.parametrize("shape", [(50, 8), (8, 50)])
def test_singular_values_are_those_of_numpy(shape):
    x = np.random.default_rng(0).normal(size=shape) + 5
    expected = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    assert singular_values(x) == pytest.approx(expected, abs=1e-6)


def test_the_effective_rank_counts_equal_directions():
    axes = np.eye(6)[:4]
    x = (
        np.concatenate([axes, -axes])
        @ np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    )
    assert effective_rank(singular_values(x + 3)) == pytest.approx(4, abs=1e-5)
    assert effective_rank(singular_values(np.ones((5, 3)))) == 0
    assert effective_rank(np.array([1.0, 1.0])) == pytest.approx(2)
    # one direction has nine tenths: exp(-(0.9 ln 0.9 + 0.1 ln 0.1))
    assert effective_rank(np.array([9.0, 1.0])) == pytest.approx(1.384145, abs=1e-5)


def test_alignment_is_the_squared_distance_of_directions():
    x = np.array([[3.0, 0.0], [0.0, 0.1]])
    assert alignment(x, 7 * x) == pytest.approx(0)
    assert alignment(x, -x) == pytest.approx(4)
    assert alignment(x, x[::-1]) == pytest.approx(2)


def test_uniformity_of_loops_over_all_pairs():
    x = np.random.default_rng(0).normal(size=(7, 3))
    pairs = []
    for i in range(7):
        for j in range(i):
            a, b = x[i] / np.sqrt((x[i] ** 2).sum()), x[j] / np.sqrt((x[j] ** 2).sum())
            pairs.append(np.exp(-2 * ((a - b) ** 2).sum()))
    assert uniformity(x) == pytest.approx(np.log(np.mean(pairs)))
    assert uniformity(np.ones((4, 3))) == pytest.approx(0)
    assert np.isnan(uniformity(x[:1]))


def test_the_spread_is_the_one_that_training_logs(monkeypatch):
    x = np.random.default_rng(0).normal(size=(40, 6)) + 0.5
    monkeypatch.setattr(events, "LOG_PERIOD", 1)
    with EventStorage() as storage:
        events.log_feature_std("std", torch.from_numpy(x))
        assert spread(x) == pytest.approx(storage.latest()["std"][0], abs=1e-6)
    assert spread(np.ones((5, 3))) == pytest.approx(0)
