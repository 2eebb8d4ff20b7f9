"""Candidates of losses over points: those of an image or of the batch, and of other processes.

Shapes: B images, P points of an image, D channels; G groups of K candidates, where a group is an
image or the whole batch.
"""

import torch

NEGATIVES = ("image", "batch")


def group_points(points, negatives):
    """(B, P, ...) -> (G, n, ...): every image a group ("image"), or all of them one ("batch")."""
    return points.flatten(0, 1)[None] if negatives == "batch" else points


def with_others(candidates, usable, others):
    """Add candidates that all groups share.

    Args:
        candidates: (G, K, D). usable: (G, K) bool. others: (M, D), or None.

    Returns:
        (G, K + M, D), (G, K + M).
    """
    if others is None:
        return candidates, usable
    groups = len(candidates)
    others = others.to(candidates).expand(groups, -1, -1)
    shared = usable.new_ones(groups, others.shape[1])
    return torch.cat([candidates, others], dim=1), torch.cat([usable, shared], dim=1)


def left_out(like):
    """A logit that takes a candidate out of a softmax; finite, so that 0 times it is 0."""
    return torch.finfo(like.dtype).min / 2


def logits_of(rows, candidates, usable):
    """Return the products of rows (n, G, D) with the candidates of their group: (G, n, K).

    Where a candidate is not usable the logit is :func:`left_out`. To leave it out of the matrix
    would make a GPU wait for the host.
    """
    bias = (~usable).to(rows) * left_out(rows)  # (G, K)
    return torch.baddbmm(bias[:, None], rows.transpose(0, 1), candidates.transpose(1, 2))
