"""The loss of BYOL and of SCRL, one direction."""

import torch.nn.functional as F

from .precision import full_precision


@full_precision
def cosine_distance(prediction, target, weights=None):
    r"""Mean squared distance of L2-normalised vectors.

    .. math:: L = \frac{1}{N} \sum_i \| \bar p_i - \bar t_i \|_2^2
                = \frac{1}{N} \sum_i (2 - 2 \cos(p_i, t_i))

    BYOL (Grill et al. 2020), Eq. 2; SCRL (Roh et al. 2021), Eq. 2; Self-EMD (Liu et al. 2021),
    Eq. 2; LC-loss (Islam et al. 2022), Eq. 1. The range is [0, 4]: 0 for parallel vectors, 2 for
    orthogonal, 4 for opposite ones.

    Args:
        prediction: (N, D), normalised inside.
        target: (N, D), normalised inside; the caller detaches it.
        weights: (N,), weights of the rows in the mean; None: all 1.

    Returns:
        Scalar in float32 or better. Without rows, or where all weights are 0, a zero that keeps
        the graph.
    """
    cosine = (F.normalize(prediction, dim=-1) * F.normalize(target, dim=-1)).sum(dim=-1)  # (N,)
    distance = 2 - 2 * cosine
    if weights is None:
        return distance.sum() / max(distance.numel(), 1)
    weights = weights.to(distance)
    return (distance * weights).sum() / weights.sum().clamp(min=1e-12)
