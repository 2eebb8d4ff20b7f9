"""Entropic optimal transport by Sinkhorn's iteration, in the log domain."""

import torch

from .precision import full_precision


@full_precision
def sinkhorn(cost, row_mass, column_mass, regularization, iterations):
    r"""Transport plans of least cost plus entropy.

    .. math:: \pi = \arg\min_\pi \sum_{ij} c_{ij} \pi_{ij} - \gamma H(\pi), \qquad
              \sum_j \pi_{ij} = a_i, \quad \sum_i \pi_{ij} = b_j

    Cuturi 2013; Self-EMD (Liu et al. 2021): Eq. 3 is the problem, Eq. 4 adds the entropy,
    Eq. 9 is the iteration, Eq. 10 the plan. Scalings are kept as logarithms, which
    holds down to small :math:`\gamma`, where :math:`\exp(-c / \gamma)` would vanish. Each
    iteration scales the columns, then the rows, so the row sums are exact at the end and the
    column sums as exact as the iteration has converged.

    Args:
        cost: (B, n, m).
        row_mass, column_mass: (B, n), (B, m); each row sums to 1, zeros are allowed.
        regularization: :math:`\gamma`, in units of the cost.
        iterations: number of iterations (T).

    Returns:
        (B, n, m), in float32 or better; differentiable in all three.
    """
    kernel = -cost / regularization  # log of exp(-c / gamma), (B, n, m)
    log_rows, log_columns = _log(row_mass), _log(column_mass)
    u = torch.zeros_like(log_rows)  # (B, n)
    v = torch.zeros_like(log_columns)  # (B, m)
    for _ in range(iterations):
        v = log_columns - (kernel + u[:, :, None]).logsumexp(dim=1)
        u = log_rows - (kernel + v[:, None, :]).logsumexp(dim=2)
    return (kernel + u[:, :, None] + v[:, None, :]).exp()


def _log(mass):
    # a mass of zero becomes the smallest normal number: its share of the plan still vanishes, and
    # no infinity enters a difference or a gradient
    return mass.clamp(min=torch.finfo(mass.dtype).tiny).log()
