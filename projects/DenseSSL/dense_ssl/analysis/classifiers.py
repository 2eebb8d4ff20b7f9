"""Classifiers of fixed features without a training loop: ridge regression and nearest neighbours.

Both weigh the classes, not the regions: in detection data one class may have most of the boxes.
Shapes: n training and m test regions, D features, C classes.
"""

import numpy as np
import torch
from torch.nn import functional as F

# Of the weights of neighbours, exp(cosine / temperature), as in Wu et al. 2018 (instance
# discrimination).
TEMPERATURE = 0.07
# Rows of training and test vectors whose cosines are in memory at once.
_BLOCK, _QUERIES = 16384, 1024


def standardise(train, test):
    """Return both in float64, each feature with mean 0 and variance 1 over ``train``.

    A feature that is constant in ``train`` becomes 0 there, and keeps its differences in ``test``.
    """
    train, test = (np.asarray(x, np.float64) for x in (train, test))
    mean, std = train.mean(axis=0), train.std(axis=0)
    std[std <= 1e-12 * np.abs(mean)] = 1
    return (train - mean) / std, (test - mean) / std


def balanced_weights(classes):
    """Return weights (n,) with the same sum for every class, and a sum of 1."""
    _, place, counts = np.unique(classes, return_inverse=True, return_counts=True)
    return 1 / (len(counts) * counts[place])


def ridge_scores(train, classes, test, strength):
    """Fit a linear layer to one-hot targets in closed form; return its outputs.

    It minimises sum_i w_i |y_i - B x_i - b|^2 + strength |B|^2 with the weights w of
    :func:`balanced_weights` and a free bias b. The system has min(n, D) unknowns per class.

    Args:
        train: (n, D). classes: (n,) in 0..C-1. test: (m, D).
        strength: relative to features of variance 1.

    Returns:
        (m, C).
    """
    weights = balanced_weights(classes)
    targets = np.eye(classes.max() + 1)[classes]
    centre, base = weights @ train, weights @ targets
    root = np.sqrt(weights)[:, None]
    x, y = root * (train - centre), root * (targets - base)
    if len(x) <= x.shape[1]:
        matrix = x @ x.T
        matrix[np.diag_indices_from(matrix)] += strength
        layer = x.T @ np.linalg.solve(matrix, y)
    else:
        matrix = x.T @ x
        matrix[np.diag_indices_from(matrix)] += strength
        layer = np.linalg.solve(matrix, x.T @ y)
    return (test - centre) @ layer + base


def nearest(train, test, neighbours):
    """Find the nearest neighbours by cosine, in memory that does not grow with their number.

    Args:
        train: (n, D), in memory or mapped from a file. test: (m, D). neighbours: k, at most n.

    Returns:
        (cosines (m, k), the largest first; indices (m, k) into ``train``), of the type of ``train``
        and int64.
    """
    best = [(torch.empty(len(x), 0, dtype=x.dtype), torch.empty(len(x), 0, dtype=torch.int64))
            for x in _unit_blocks(test, _QUERIES)]  # fmt: skip
    for first, block in zip(range(0, len(train), _BLOCK), _unit_blocks(train, _BLOCK)):
        places = torch.arange(first, first + len(block))
        for i, queries in enumerate(_unit_blocks(test, _QUERIES)):
            values = torch.cat([best[i][0], queries.to(block) @ block.T], dim=1)
            indices = torch.cat([best[i][1], places.expand(len(queries), -1)], dim=1)
            values, chosen = values.topk(min(neighbours, values.shape[1]), dim=1)
            best[i] = values, indices.gather(1, chosen)
    return tuple(torch.cat(x).numpy() for x in zip(*best))


def _unit_blocks(vectors, size):
    """Yield blocks of rows of length 1."""
    for first in range(0, len(vectors), size):
        yield F.normalize(torch.from_numpy(np.array(vectors[first : first + size])), dim=1)


def vote_weights(cosines):
    """Return the votes of neighbours, exp(cosine / 0.07), relative to those of a cosine of 1."""
    return np.exp((cosines - 1) / TEMPERATURE)


def neighbour_scores(train, classes, test, neighbours):
    """Return the votes of the nearest neighbours by cosine, (m, C).

    A neighbour's vote is exp(cosine / 0.07), divided by the number of training regions of its
    class.

    Args:
        train: (n, D). classes: (n,) in 0..C-1. test: (m, D). neighbours: k.
    """
    cosines, indices = nearest(train, test, min(neighbours, len(train)))
    weights = vote_weights(cosines) * balanced_weights(classes)[indices]
    return count_votes(weights, classes[indices], classes.max() + 1)


def count_votes(weights, classes, count):
    """Sum weights (m, k) by their classes (m, k); return (m, count)."""
    votes = np.zeros((len(weights), count))
    np.add.at(votes, (np.arange(len(weights))[:, None], classes), weights)
    return votes


def logistic_regression(features, labels, cost):
    """Return scikit-learn's logistic regression on features of variance 1, with C ``cost``."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=cost, max_iter=2000))
    return model.fit(features, labels)


def class_accuracy(predicted, classes):
    """Return the accuracy in percent, averaged over the classes that occur in ``classes``."""
    found = predicted == classes
    return 100 * float(np.mean([found[classes == c].mean() for c in np.unique(classes)]))


def classify(train, train_classes, test, test_classes, strength, neighbours):
    """Return {"linear": percent, "knn": percent}: class accuracies on fixed features.

    Test regions of classes that the training regions do not have do not count. NaN where a feature
    is not finite, or nothing is left.

    Args:
        train: (n, D). train_classes: (n,). test: (m, D). test_classes: (m,).
        strength: of :func:`ridge_scores`. neighbours: of :func:`neighbour_scores`.
    """
    known, place = np.unique(train_classes, return_inverse=True)
    counts = np.isin(test_classes, known)
    test, test_classes = test[counts], test_classes[counts]
    if not len(test) or not (np.isfinite(train).all() and np.isfinite(test).all()):
        return {"linear": float("nan"), "knn": float("nan")}
    train, test = standardise(train, test)
    scores = {
        "linear": ridge_scores(train, place, test, strength),
        "knn": neighbour_scores(train, place, test, neighbours),
    }
    return {k: class_accuracy(known[x.argmax(axis=1)], test_classes) for k, x in scores.items()}
