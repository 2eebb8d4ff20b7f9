"""Numbers that tell whether features are alive: pure functions of vectors, without labels.

Shapes: n vectors of D features. Everything is computed in float64.
"""

import numpy as np


def singular_values(features):
    """Return the singular values (min(n, D),) of the centred features, the largest first."""
    features = np.asarray(features, np.float64)
    features = features - features.mean(axis=0)
    gram = features @ features.T if len(features) < features.shape[1] else features.T @ features
    return np.sqrt(np.linalg.eigvalsh(gram)[::-1].clip(min=0))


def effective_rank(values):
    """Return the effective rank of a spectrum (Roy & Vetterli 2007): exp of its entropy.

    It is r for r equal singular values, and 0 where all vectors are equal.

    Args:
        values: singular values, not all sorted.
    """
    total = values.sum()
    # rounding leaves about 1e-8 of the largest where the vectors span fewer dimensions
    shares = values[values > 1e-7 * values.max()] / total if total > 0 else np.zeros(0)
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0


def unit(features, dtype=np.float64):
    """Return the vectors with length 1."""
    features = np.asarray(features, dtype)
    return features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)


def alignment(first, second):
    """Return the mean squared distance of the n pairs, of unit length: in [0, 4], 0 is best.

    Wang & Isola 2020, Eq. 1 with alpha = 2: 2 - 2 cos.

    Args:
        first, second: (n, D), vectors of the same thing in two views.
    """
    return float(((unit(first) - unit(second)) ** 2).sum(axis=1).mean())


def uniformity(features, t=2.0):
    """Return the log of the mean Gaussian potential of all pairs of unit length, at most 0.

    Wang & Isola 2020, Eq. 2. 0 where all are equal; the lower, the more evenly they cover the
    sphere (about -2 t for many features). NaN of a single vector.
    """
    vectors = unit(features)
    if len(vectors) < 2:
        return float("nan")
    squared = (2 - 2 * vectors @ vectors.T)[np.triu_indices(len(vectors), 1)].clip(min=0)
    return float(np.log(np.exp(-t * squared).mean()))


def spread(features):
    """Return the spread of vectors of unit length: 0 when all are equal, 1 when isotropic.

    As training logs it, see :func:`~dense_ssl.utils.events.log_feature_std`.
    """
    vectors = unit(features)
    return float(vectors.std(axis=0, ddof=1).mean() * vectors.shape[1] ** 0.5)
