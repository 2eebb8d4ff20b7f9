"""NT-Xent, the loss of SimCLR: negatives are the other vectors of the batch."""

import torch
import torch.nn.functional as F

from .chunks import over_chunks
from .precision import full_precision


@full_precision
def nt_xent(
    query, positive, candidates, query_groups, candidate_groups, temperature, weights=None,
    max_entries=None
):  # fmt: skip
    r"""Cross-entropy of each query's positive against it and the candidates of other groups.

    .. math:: L = -\frac{1}{N} \sum_i \log \frac{\exp(q_i \cdot p_i / \tau)}{\exp(q_i \cdot p_i
                  / \tau) + \sum_{j: g_j \ne g_i} \exp(q_i \cdot c_j / \tau)}

    SimCLR (Chen et al. 2020), Eq. 1, where a group holds the two views of one image. Gradients
    reach queries, positives and candidates.

    Args:
        query: (N, D), normalised inside.
        positive: (N, D), normalised inside.
        candidates: (M, D), normalised inside; the queries and positives may be among them.
        query_groups: (N,) integers. candidate_groups: (M,) integers; -1 for no candidate.
        temperature: :math:`\tau`.
        weights: (N,), weights of the queries in the mean; None: all 1.
        max_entries: largest number of similarities that are held at once, see
            :func:`~dense_ssl.losses.chunks.over_chunks`.

    Returns:
        Scalar in float32 or better. Without queries, or where all weights are 0, a zero that keeps
        the graph.
    """
    query, positive, candidates = (F.normalize(x, dim=1) for x in (query, positive, candidates))
    if weights is None:
        weights = query.new_ones(len(query))
    weights = weights.to(query)

    def weighted_sum(query, positive, groups, weights):
        first = (query * positive).sum(dim=1, keepdim=True)  # (n, 1)
        left_out = (groups[:, None] == candidate_groups) | (candidate_groups < 0)  # (n, M)
        others = (query @ candidates.T).masked_fill(left_out, -torch.inf)
        logits = torch.cat([first, others], dim=1) / temperature  # (n, 1 + M)
        return (logits.logsumexp(dim=1) - logits[:, 0]) @ weights

    rows = (query, positive, query_groups, weights)
    total = over_chunks(weighted_sum, rows, 1 + len(candidates), max_entries)
    return total / weights.sum().clamp(min=1e-12)
