"""The loss of PixPro, one direction."""

import torch.nn.functional as F

from .precision import full_precision


@full_precision
def pixel_consistency(prediction, target, positive):
    r"""Negative mean cosine of the cells of two views that show the same place.

    .. math:: L = -\frac{1}{|P|} \sum_{(i, j) \in P} \cos(y_i, x'_j)

    PixPro (Xie et al. 2021), Eq. 5, one of its two terms: the mean over the positive pairs of an
    image, then over the images that have one. The range is [-1, 1], and -1 is best.

    Args:
        prediction: (N, P, D), normalised inside.
        target: (N, Q, D), normalised inside; the caller detaches it.
        positive: (N, P, Q) bool, the pairs that are pulled together.

    Returns:
        Scalar in float32 or better. Without a positive pair a zero that keeps the graph.
    """
    cosine = F.normalize(prediction, dim=-1) @ F.normalize(target, dim=-1).transpose(1, 2)
    pairs = positive.flatten(1).sum(dim=1)  # (N,)
    similarity = (cosine * positive).flatten(1).sum(dim=1) / pairs.clamp(min=1)  # (N,)
    return -similarity.sum() / (pairs > 0).sum().clamp(min=1)
