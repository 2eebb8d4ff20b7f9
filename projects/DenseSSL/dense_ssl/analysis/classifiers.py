"""Classifiers of fixed features without a training loop: ridge regression and nearest neighbours.

Both weigh the classes, not the regions: in detection data one class may have most of the boxes.
Shapes: n training and m test regions, D features, C classes.
"""

import numpy as np

# Of the weights of neighbours, exp(cosine / temperature), as in Wu et al. 2018 (instance
# discrimination).
TEMPERATURE = 0.07


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


def neighbour_scores(train, classes, test, neighbours):
    """Return the votes of the nearest neighbours by cosine, (m, C).

    A neighbour's vote is exp(cosine / 0.07), divided by the number of training regions of its
    class.

    Args:
        train: (n, D). classes: (n,) in 0..C-1. test: (m, D). neighbours: k.
    """
    train, test = (x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12) for x in (train, test))
    votes = np.zeros((len(test), classes.max() + 1))
    shares, k = balanced_weights(classes), min(neighbours, len(train))
    for first in range(0, len(test), 1024):  # all pairs at once may not fit
        cosines = test[first : first + 1024] @ train.T
        nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(cosines, nearest, axis=1)
        values = np.exp((values - 1) / TEMPERATURE) * shares[nearest]
        rows = np.arange(len(cosines))[:, None]
        np.add.at(votes[first : first + 1024], (rows, classes[nearest]), values)
    return votes


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
