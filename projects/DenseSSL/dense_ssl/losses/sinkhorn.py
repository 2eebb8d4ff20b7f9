"""Entropic optimal transport by Sinkhorn's iteration."""

import math

import torch

from .precision import full_precision


@full_precision
def sinkhorn(cost, row_mass, column_mass, regularization, iterations, largest_cost=None):
    r"""Transport plans of least cost plus entropy.

    .. math:: \pi = \arg\min_\pi \sum_{ij} c_{ij} \pi_{ij} - \gamma H(\pi), \qquad
              \sum_j \pi_{ij} = a_i, \quad \sum_i \pi_{ij} = b_j

    Cuturi 2013; Self-EMD (Liu et al. 2021): Eq. 3 is the problem, Eq. 4 adds the entropy,
    Eq. 9 is the iteration, Eq. 10 the plan. Each iteration scales the columns, then the rows, so
    the row sums are exact at the end and the column sums as exact as the iteration has converged.

    Where :math:`\exp(-c / \gamma)` is known not to vanish, the plan itself is scaled; otherwise
    scalings are kept as logarithms, which takes four times as many operations.

    Args:
        cost: (B, n, m).
        row_mass, column_mass: (B, n), (B, m); each row sums to 1, zeros are allowed.
        regularization: :math:`\gamma`, in units of the cost.
        iterations: number of iterations (T).
        largest_cost: a bound of the costs, which are at least 0; None: not known.

    Returns:
        (B, n, m), in float32 or better; differentiable in all three.
    """
    kernel = -cost / regularization  # log of exp(-c / gamma), (B, n, m)
    # both scalings may take a number as far as its exponential does
    range_of_exp = -math.log(torch.finfo(kernel.dtype).tiny) / 2
    if largest_cost is not None and largest_cost / regularization < range_of_exp:
        return _scaled(kernel.exp(), row_mass, column_mass, iterations)
    return _scaled_by_logs(kernel, row_mass, column_mass, iterations)


def _scaled(plan, row_mass, column_mass, iterations):
    smallest = torch.finfo(plan.dtype).tiny  # a column without mass has vanished
    for _ in range(iterations):
        for dim, mass in ((1, column_mass[:, None, :]), (2, row_mass[:, :, None])):
            plan = plan * (mass / plan.sum(dim=dim, keepdim=True).clamp(min=smallest))
    return plan


def _scaled_by_logs(kernel, row_mass, column_mass, iterations):
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
