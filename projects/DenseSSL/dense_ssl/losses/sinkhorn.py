"""Entropic optimal transport by Sinkhorn's iteration, in the log domain."""

import torch

from .precision import at_least_float32


def sinkhorn(cost, row_mass, column_mass, regularization, iterations, tolerance=None):
    r"""Transport plans of least cost plus entropy.

    .. math:: \pi = \arg\min_\pi \sum_{ij} c_{ij} \pi_{ij} - \gamma H(\pi), \qquad
              \sum_j \pi_{ij} = a_i, \quad \sum_i \pi_{ij} = b_j

    Cuturi 2013; Self-EMD (Liu et al. 2021), Eq. 6 to 9. Scalings are kept as logarithms, which
    holds down to small :math:`\gamma`, where :math:`\exp(-c / \gamma)` would vanish. Each
    iteration scales the columns, then the rows, so the row sums are exact at the end and the
    column sums as exact as the iteration has converged.

    Args:
        cost: (B, n, m).
        row_mass, column_mass: (B, n), (B, m); each row sums to 1, zeros are allowed.
        regularization: :math:`\gamma`, in units of the cost.
        iterations: at most so many.
        tolerance: stop once no column sum of the batch is off by more; None: never.

    Returns:
        (B, n, m), in float32 or better; differentiable in all three.
    """
    cost, row_mass, column_mass = at_least_float32(cost, row_mass, column_mass)
    with torch.autocast(cost.device.type, enabled=False):
        kernel = -cost / regularization  # log of exp(-c / gamma), (B, n, m)
        log_rows, log_columns = (_log(x) for x in (row_mass, column_mass))
        u = torch.zeros_like(log_rows)  # (B, n)
        v = torch.zeros_like(log_columns)  # (B, m)
        for _ in range(iterations):
            v = log_columns - (kernel + u[:, :, None]).logsumexp(dim=1)
            u = log_rows - (kernel + v[:, None, :]).logsumexp(dim=2)
            if tolerance is not None and _error(kernel, u, v, column_mass) <= tolerance:
                break
        return (kernel + u[:, :, None] + v[:, None, :]).exp()


def _log(mass):
    # a mass of zero as the smallest number there is: its share of the plan vanishes all the same,
    # and no infinity enters a difference or a gradient
    return mass.clamp(min=torch.finfo(mass.dtype).tiny).log()


@torch.no_grad()
def _error(kernel, u, v, column_mass):
    """Largest deviation of a column sum."""
    sums = (kernel + u[:, :, None] + v[:, None, :]).exp().sum(dim=1)
    return (sums - column_mass).abs().amax().item() if column_mass.numel() else 0.0
