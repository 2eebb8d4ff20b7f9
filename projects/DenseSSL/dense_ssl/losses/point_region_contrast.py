"""The contrastive loss of point-level region contrast."""

import torch
import torch.nn.functional as F

from ..utils.checks import require_one_of
from .chunks import over_chunks
from .precision import full_precision

NEGATIVES = ("image", "batch")


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
    query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
    if other_keys is not None:
        other_keys = F.normalize(other_keys.to(key.dtype), dim=-1)
    require_one_of("negatives", negatives, NEGATIVES)
    if negatives == "batch":
        query_id, key_id = _across_images(query_region, key_region)
        groups = [(query.flatten(0, 1), key.flatten(0, 1), query_id.flatten(), key_id.flatten())]
    else:
        groups = list(zip(query, key, query_region, key_region))
    total, count = query.sum() * 0, 0
    for group in groups:
        loss, anchors = _sum_over_anchors(*group, temperature, other_keys, max_entries)
        total, count = total + loss, count + anchors
    return total / max(count, 1)


def _across_images(*regions):
    """Regions (B, P) of each image -> numbers that differ between images; -1 stays -1."""
    width = max((int(x.max()) + 1 for x in regions if x.numel()), default=1)
    images = torch.arange(len(regions[0]), device=regions[0].device)[:, None]
    return [torch.where(x < 0, x, x + images * width) for x in regions]


def _sum_over_anchors(query, key, query_id, key_id, temperature, other_keys, max_entries):
    """Sum of the losses of the anchors that have a positive, and their number.

    Shapes: query (A, D), key (K, D), query_id (A,), key_id (K,), other_keys (M, D) or None.
    """
    keep = key_id >= 0
    key, key_id = key[keep], key_id[keep]
    anchor = (query_id >= 0) & torch.isin(query_id, key_id)
    query, query_id = query[anchor], query_id[anchor]
    if not len(query):
        return query.sum() * 0, 0
    if other_keys is not None:
        key = torch.cat([key, other_keys])
        key_id = torch.cat([key_id, key_id.new_full((len(other_keys),), -1)])

    def summed(query, query_id):
        logits = query @ key.T / temperature  # (n, K)
        same = (query_id[:, None] == key_id).to(logits)
        positive = (logits * same).sum(dim=1) / same.sum(dim=1)
        return (logits.logsumexp(dim=1) - positive).sum()

    total = over_chunks(summed, (query, query_id), len(key), max_entries)
    return total, len(query)
