"""Closed-form classifiers against scikit-learn and against cases with a known answer."""

import numpy as np
import pytest

from dense_ssl.analysis.classifiers import (
    TEMPERATURE,
    balanced_weights,
    class_accuracy,
    classify,
    neighbour_scores,
    ridge_scores,
    standardise,
)


def clusters(counts, features, seed=0, distance=3.0):
    """Points around one centre per class."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(len(counts), features)) * distance
    classes = np.repeat(np.arange(len(counts)), counts)
    return centres[classes] + rng.normal(size=(len(classes), features)), classes


@pytest.mark.parametrize("features", [5, 60])  # fewer and more than the 40 points
def test_ridge_is_that_of_sklearn_with_balanced_classes(features):
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = clusters((30, 4, 6), features, distance=0.5)
    test, _ = clusters((5, 5, 5), features, seed=1)
    model = linear_model.Ridge(alpha=0.3, solver="cholesky")
    model.fit(x, np.eye(3)[y], sample_weight=balanced_weights(y))
    assert ridge_scores(x, y, test, 0.3) == pytest.approx(model.predict(test), abs=1e-9)


def test_neighbours_are_those_of_sklearn():
    neighbors = pytest.importorskip("sklearn.neighbors")
    x, y = clusters((12, 12, 12), 4, distance=0.7)  # classes of one size: plain votes
    test, _ = clusters((20, 20, 20), 4, seed=1, distance=0.7)
    model = neighbors.KNeighborsClassifier(
        5, metric="cosine", weights=lambda d: np.exp(-d / TEMPERATURE)
    ).fit(x, y)
    votes = neighbour_scores(x, y, test, 5)
    expected = model.predict_proba(test)
    assert votes / votes.sum(axis=1, keepdims=True) == pytest.approx(expected, abs=1e-9)


def test_a_rare_class_is_not_outvoted():
    """Two classes at one place: a class with ten times the points would win every vote."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(110, 3)) + 5
    y = np.repeat([0, 1], [100, 10])
    share = neighbour_scores(x, y, rng.normal(size=(500, 3)) + 5, 110).argmax(axis=1).mean()
    assert 0.2 < share < 0.8
    shares = ridge_scores(x, y, rng.normal(size=(500, 3)) + 5, 1.0).argmax(axis=1).mean()
    assert 0.2 < shares < 0.8


def test_separable_classes_score_100_and_random_features_score_chance():
    x, y = clusters((40, 10, 20), 8)
    test, truth = clusters((9, 9, 9), 8, seed=1)
    assert classify(x, y, test, truth, 1.0, 5) == {"linear": 100.0, "knn": 100.0}
    rng = np.random.default_rng(2)
    noise, labels = rng.normal(size=(3000, 6)), rng.integers(0, 3, 3000)
    found = classify(noise[:1500], labels[:1500], noise[1500:], labels[1500:], 1.0, 10)
    assert found["linear"] == pytest.approx(100 / 3, abs=4)
    assert found["knn"] == pytest.approx(100 / 3, abs=4)


def test_the_mean_is_over_classes():
    assert class_accuracy(np.array([0, 0, 0, 0]), np.array([0, 0, 0, 4])) == 50


def test_classes_without_training_regions_do_not_count():
    x, y = clusters((10, 10), 4)
    test, truth = clusters((5, 5, 50), 4, seed=1)
    assert classify(x, 7 * y, test[:10], 7 * truth[:10], 1.0, 3)["linear"] == 100
    found = classify(x, y, test, truth, 1.0, 3)
    assert found == classify(x, y, test[:10], truth[:10], 1.0, 3)
    assert np.isnan(classify(x, y, test[10:], truth[10:], 1.0, 3)["linear"])


def test_features_that_are_not_finite_are_no_error():
    x, y = clusters((10, 10), 4)
    x[3, 2] = np.inf
    assert np.isnan(classify(x, y, x, y, 1.0, 3)["knn"])


def test_scale_and_constant_features_change_nothing():
    x, y = clusters((10, 10, 10), 4, distance=0.4)
    test, truth = clusters((30, 30, 30), 4, seed=1, distance=0.4)
    scaled = [np.hstack([z * [1, 50, 1e-3, 7], np.full((len(z), 1), 3e4)]) for z in (x, test)]
    assert classify(*(scaled[0], y, scaled[1], truth), 1.0, 5) == classify(
        x, y, test, truth, 1.0, 5
    )
    train, _ = standardise(*scaled)
    assert train.mean(axis=0) == pytest.approx(np.zeros(5), abs=1e-9)
    assert train.std(axis=0) == pytest.approx([1, 1, 1, 1, 0], abs=1e-9)
