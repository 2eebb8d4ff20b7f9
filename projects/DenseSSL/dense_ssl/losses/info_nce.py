"""InfoNCE, the loss of MoCo and of both branches of DUPR."""

import torch
import torch.nn.functional as F

from .log_sum_exp import log_sum_exp
from .precision import full_precision


@full_precision
def info_nce(
    query, positive, negatives, temperature, weights=None, max_entries=None, unit_negatives=False
):
    r"""Cross-entropy of each query's positive against the positive and all negatives.

    .. math:: L = -\frac{1}{N} \sum_i \log \frac{\exp(q_i \cdot k_i / \tau)}
                  {\exp(q_i \cdot k_i / \tau) + \sum_j \exp(q_i \cdot n_j / \tau)}

    MoCo (He et al. 2020), Eq. 1; DUPR (Ding et al. 2021), Eq. 1 in general, Eq. 5 for patches,
    Eq. 6 for images; point-level region contrast (Bai et al. 2022), Eq. 1. It is log(1 + K) for
    features that tell nothing apart.

    Args:
        query: (N, D), normalised inside.
        positive: (N, D), normalised inside; the caller detaches it.
        negatives: (K, D), normalised inside; the caller detaches them.
        temperature: :math:`\tau`.
        weights: (N,), weights of the queries in the mean; None: all 1.
        max_entries: largest number of similarities that are held at once, see
            :func:`~dense_ssl.losses.log_sum_exp.log_sum_exp`.
        unit_negatives: the negatives have length 1 already, so a long queue need not be copied.

    Returns:
        Scalar in float32 or better. Without queries, or where all weights are 0, a zero that keeps
        the graph.
    """
    query, positive = F.normalize(query, dim=1), F.normalize(positive, dim=1)
    if weights is None:
        weights = query.new_ones(len(query))
    weights = weights.to(query)
    negatives = negatives.to(query.dtype)
    if not unit_negatives:
        negatives = F.normalize(negatives, dim=1)
    query = query / temperature
    first = (query * positive).sum(dim=1)  # (N,)
    others = log_sum_exp(query[None], negatives[None], max_entries=max_entries)[0]  # (N,)
    total = (torch.logaddexp(first, others) - first) @ weights
    return total / weights.sum().clamp(min=1e-12)


@torch.no_grad()
@full_precision
def contrast_statistics(query, positive, negatives):
    """How well queries find their positives.

    Args:
        query, positive: (N, D). negatives: (K, D). Normalised inside.

    Returns:
        dict of scalars: ``top1`` and ``top5``, the share of queries whose positive is the nearest,
        or among the five nearest, of all candidates (a tie counts as a miss);
        ``positive_similarity`` and ``hardest_negative``, mean cosines.
    """
    query, positive = F.normalize(query, dim=1), F.normalize(positive, dim=1)
    others = query @ F.normalize(negatives.to(query.dtype), dim=1).T  # (N, K)
    similarity = (query * positive).sum(dim=1)
    rank = (others >= similarity[:, None]).sum(dim=1)
    return {
        "top1": (rank < 1).float().mean(),
        "top5": (rank < 5).float().mean(),
        "positive_similarity": similarity.mean(),
        "hardest_negative": others.amax(dim=1).mean(),
    }
