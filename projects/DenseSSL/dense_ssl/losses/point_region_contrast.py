"""The contrastive loss of point-level region contrast."""

import torch.nn.functional as F

from ..utils.checks import require_one_of
from .candidates import NEGATIVES, group_points, with_others
from .log_sum_exp import log_sum_exp
from .precision import full_precision


@full_precision
def point_region_contrast(
    query,
    key,
    query_region,
    key_region,
    temperature,
    *,
    negatives="batch",
    other_keys=None,
    max_entries=None,
):
    r"""Points of one region, seen in two views, against the points of all other regions.

    .. math:: L_c = -\frac{1}{C} \sum_{a_i = a_k} \log \frac{\exp(p_i \cdot p'_k / \tau)}
                    {\sum_j \exp(p_i \cdot p'_j / \tau)}

    Point-level region contrast (Bai et al. 2022), Eq. 2. The positives of a point are the key
    points of the same region of the same image; j runs over all key points, the positives
    included. The paper's C is taken as a mean over an anchor's positives, then over the anchors.

    Args:
        query, key: (B, P, D), normalised inside; the caller detaches ``key``.
        query_region, key_region: (B, P) integers, the region of each point within its image; -1:
            the point is neither anchor nor candidate.
        temperature: :math:`\tau`.
        negatives: "batch": candidates are the key points of all images. "image": of the own image
            only.
        other_keys: (M, D), further negatives, such as the points of other processes.
        max_entries: largest number of similarities that are held at once.

    Returns:
        Scalar in float32 or better. Without an anchor that has a positive, a zero that keeps the
        graph.
    """
    require_one_of("negatives", negatives, NEGATIVES)
    query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
    if other_keys is not None:
        other_keys = F.normalize(other_keys.to(key.dtype), dim=-1)
    usable = key_region >= 0
    same = (query_region[:, :, None] == key_region[:, None]) & usable[:, None]  # (B, P, P)
    # the mean over an anchor's positives is linear in the keys, so it is one product
    share = same.to(query) / same.sum(dim=2, keepdim=True).clamp(min=1)
    positive = (query * (share @ key)).sum(dim=2) / temperature  # (B, P)
    is_anchor = same.any(dim=2).to(query)
    rows, positive, is_anchor, key, usable = (
        group_points(x, negatives) for x in (query / temperature, positive, is_anchor, key, usable)
    )  # (G, n, ...)
    candidates, usable = with_others(key, usable, other_keys)
    total = log_sum_exp(rows, candidates, usable, max_entries=max_entries)  # (G, n)
    return ((total - positive) * is_anchor).sum() / is_anchor.sum().clamp(min=1)
