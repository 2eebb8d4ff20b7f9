"""Spearman's correlation of a probe with the other scores, and its bootstrap interval."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from dense_ssl.reports.rank_correlation import RESAMPLES, correlation_notes, rank_correlation


def groups_of(values, count):
    return np.split(np.asarray(values, dtype=float), count)


def test_the_correlation_is_spearmans():
    generator = np.random.default_rng(1)
    pairs = generator.integers(0, 6, (30, 2))  # with ties
    rho, low, high = rank_correlation(groups_of(pairs, 10))
    assert rho == pytest.approx(spearmanr(pairs[:, 0], pairs[:, 1]).statistic)
    assert low < rho < high


def test_equal_ranks_have_a_correlation_of_one():
    x = np.arange(12.0)
    assert rank_correlation(groups_of(np.stack([x, x**3], 1), 4)) == pytest.approx((1, 1, 1))
    assert rank_correlation(groups_of(np.stack([x, -x], 1), 4))[0] == pytest.approx(-1)


def test_runs_of_one_backbone_count_as_one():
    """Copies of the runs change nothing, as they would if the runs were drawn."""
    generator = np.random.default_rng(2)
    pairs = generator.normal(size=(8, 1, 2))
    once = rank_correlation(list(pairs))
    often = rank_correlation([np.repeat(x, 20, axis=0) for x in pairs])
    assert often == pytest.approx(once, abs=1e-9)


def test_few_backbones_and_constant_scores_have_none():
    assert all(map(math.isnan, rank_correlation([np.zeros((3, 2))] * 2)))
    assert all(map(math.isnan, rank_correlation([np.array([[1.0, x]]) for x in range(5)])))


def test_the_note_has_the_interval():
    entry = {"probe": "a/probe", "probe_metric": "probe/knn", "protocol": "a/b",
             "metric": "bbox/AP", "n": 9}  # fmt: skip
    assert correlation_notes([{**entry, "rho": 0.5, "interval": [0.1, 0.8]}]) == [
        "Spearman's correlation of a/probe probe/knn with a/b bbox/AP over 9 runs: 0.50, 95% "
        "interval 0.10 to 0.80 (bootstrap over backbones)"
    ]
    assert "no interval" in correlation_notes([{**entry, "rho": None, "interval": None}])[0]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_few_backbones_have_no_correlation(count):
    groups = [np.array([[1.0, 2.0], [2.0, 5.0], [4.0, 3.0]]) + i for i in range(count)]
    assert np.isnan(rank_correlation(groups)).all()


def test_the_interval_is_that_of_backbones_drawn_with_replacement():
    groups = groups_of(np.random.default_rng(4).normal(size=(12, 2)), 4)
    rng, values = np.random.default_rng(0), []
    for row in rng.integers(4, size=(RESAMPLES, 4)):
        pairs = np.concatenate([groups[i] for i in row])  # a backbone may be there several times
        values.append(spearmanr(pairs[:, 0], pairs[:, 1]).statistic)
    _, low, high = rank_correlation(groups)
    assert (low, high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-9)
