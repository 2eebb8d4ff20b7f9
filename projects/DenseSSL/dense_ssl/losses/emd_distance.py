"""The transport distance of Self-EMD and the marginals it is computed with."""

import torch
import torch.nn.functional as F

from .precision import full_precision
from .sinkhorn import sinkhorn

LARGEST_COST = 2  # of a cosine


@full_precision
def marginal_weights(nodes, vector, floor=1e-3):
    r"""How much each node of a map matters: its agreement with the other view as a whole.

    .. math:: s_i = \max(x_i \cdot v_y, 0)

    Self-EMD (Liu et al. 2021), Eq. 15; Eq. 14 with the mean of the other map as the vector. Each
    row is then given a floor and divided by its sum, so that it is a distribution.

    Args:
        nodes: (B, n, D), raw. vector: (B, D), raw: its length cancels.
        floor: share of a row's largest weight that every node of the row gets on top.

    Returns:
        (B, n), rows that sum to 1; uniform where no node agrees.
    """
    weights = (nodes @ vector[:, :, None])[..., 0].clamp(min=0)  # (B, n)
    if not weights.numel():
        return weights
    largest = weights.amax(dim=1, keepdim=True)
    weights = torch.where(largest > 0, weights + floor * largest, torch.ones_like(weights))
    return weights / weights.sum(dim=1, keepdim=True)


@full_precision
def emd_distance(
    x,
    y,
    x_mass,
    y_mass,
    regularization,
    iterations,
    *,
    differentiate_plan=False,
):
    r"""Distance of two sets of vectors: 2 - 2 times their similarity under optimal transport.

    .. math:: c_{ij} = 1 - \cos(x_i, y_j), \qquad s = \sum_{ij} (1 - c_{ij}) \pi_{ij}, \qquad
              L = 2 - 2 s

    Self-EMD (Liu et al. 2021): Eq. 11 is the cost, Eq. 12 the similarity under the optimal plan,
    Eq. 13 the loss; the mean over the batch, in [0, 4]. By the envelope theorem the gradient of the
    optimal cost is the plan itself, so none is taken through it.

    Args:
        x, y: (B, n, D), (B, m, D), normalised inside; the caller detaches ``y``.
        x_mass, y_mass: (B, n), (B, m), rows that sum to 1.
        regularization, iterations: of :func:`~dense_ssl.losses.sinkhorn.sinkhorn`.
        differentiate_plan: take the gradient through the iterations as well.

    Returns:
        Scalar in float32 or better; without pairs a zero that keeps the graph.
    """
    x, y = F.normalize(x, dim=-1), F.normalize(y, dim=-1)
    similarity = x @ y.transpose(1, 2)  # (B, n, m)
    cost = 1 - similarity  # Eq. 11
    if not differentiate_plan:
        cost, x_mass, y_mass = cost.detach(), x_mass.detach(), y_mass.detach()
    plan = sinkhorn(cost, x_mass, y_mass, regularization, iterations, LARGEST_COST)
    distance = 2 - 2 * (similarity * plan).sum(dim=(1, 2))  # (B,)
    return distance.sum() / max(len(distance), 1)
