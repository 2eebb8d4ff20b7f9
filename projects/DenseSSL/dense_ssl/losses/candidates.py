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


def left_out(usable, like):
    """Return (G, K): 0, or for a candidate that is not usable what takes it out of a softmax.

    It is finite, so that 0 times it is 0.
    """
    return (~usable).to(like) * lowest(like)


def lowest(like):
    """A logit that takes a candidate out of a softmax."""
    return torch.finfo(like.dtype).min / 2


def logits_of(rows, candidates, usable=None):
    """Return the products of rows (G, n, D) with the candidates of their group: (G, n, K).

    Where a candidate is not usable the logit is :func:`lowest`. To leave it out of the matrix
    would make a GPU wait for the host.
    """
    columns = candidates.transpose(1, 2)
    if usable is None:
        return torch.bmm(rows, columns)
    return torch.baddbmm(left_out(usable, rows)[:, None], rows, columns)
