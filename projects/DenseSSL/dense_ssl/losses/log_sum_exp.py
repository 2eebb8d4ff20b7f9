"""Softmax over the products of rows with candidates: its normaliser, and means weighted by it.

The matrix of products is never kept. Shapes: G groups, n rows of a group, K candidates of a group,
D channels.
"""

import torch
from torch.autograd.function import once_differentiable

from .attention_kernels import fused_softmax
from .candidates import logits_of, lowest
from .chunks import rows_of_part


def log_sum_exp(rows, candidates, usable=None, *, exclude_self=False, max_entries=None):
    r"""Return :math:`\log \sum_j \exp(r_i \cdot c_j)` for every row.

    The gradient of a row is the mean of the candidates, weighted by their softmax. It is computed
    beside the sum, from the same exponentials. The gradients of candidates depend on those of the
    output: for them the products are computed again.

    Args:
        rows: (G, n, D). candidates: (G, K, D).
        usable: (G, K) bool, the candidates that count; None: all. A row of a group without any has
            a large negative output.
        exclude_self: leave candidate i out of the sum of row i.
        max_entries: largest number of products that are held at once; None:
            :func:`~.chunks.largest_part`, or torch's own blocks.

    Returns:
        (G, n); -inf without candidates.
    """
    if not candidates.shape[1]:
        return rows.sum(dim=2) * 0 - torch.inf
    return _LogSumExp.apply(rows, candidates, usable, exclude_self, max_entries)


def softmax_mean(rows, candidates, values, usable=None, *, exclude_self=False, max_entries=None):
    r"""Return the mean of ``values``, (G, K, D), weighted by the softmax over a row's candidates.

    Arguments as of :func:`log_sum_exp`. Rows and candidates are constants: gradients reach the
    values alone.

    Returns:
        (G, n, D); zeros without candidates.
    """
    if not candidates.shape[1]:
        return torch.zeros_like(rows)
    return _SoftmaxMean.apply(rows, candidates, values, usable, exclude_self, max_entries)


class _LogSumExp(torch.autograd.Function):
    """See :func:`log_sum_exp`."""

    @staticmethod
    def forward(ctx, rows, candidates, usable, exclude_self, max_entries):
        ctx.options = exclude_self, max_entries
        needs_rows, needs_candidates = ctx.needs_input_grad[:2]
        values = candidates if needs_rows else None
        sums, means = _softmax(rows, candidates, values, usable, *ctx.options)
        if needs_candidates:
            ctx.save_for_backward(means, rows, candidates, usable, sums)
        else:
            ctx.save_for_backward(means)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        means, *saved = ctx.saved_tensors
        gradient = gradient[:, :, None]
        # somebody may call backward() within autocast
        with torch.autocast(gradient.device.type, enabled=False):
            of_rows = gradient * means if ctx.needs_input_grad[0] else None
            of_candidates = _summed(gradient * saved[0], *saved, *ctx.options) if saved else None
        return of_rows, of_candidates, None, None, None


class _SoftmaxMean(torch.autograd.Function):
    """See :func:`softmax_mean`."""

    @staticmethod
    def forward(ctx, rows, candidates, values, usable, exclude_self, max_entries):
        ctx.options = exclude_self, max_entries
        sums, means = _softmax(rows, candidates, values, usable, *ctx.options)
        ctx.save_for_backward(rows, candidates, usable, sums)
        return means

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        with torch.autocast(gradient.device.type, enabled=False):
            of_values = _summed(gradient, *ctx.saved_tensors, *ctx.options)
        return None, None, of_values, None, None, None


def _softmax(rows, candidates, values, usable, exclude_self, max_entries):
    """Return (log sum exp (G, n), softmax means of values (G, n, D), or None without values)."""
    if not exclude_self and max_entries is None:
        found = fused_softmax(rows, candidates, candidates if values is None else values, usable)
        if found is not None:
            return found
    return _in_parts(rows, candidates, values, usable, exclude_self, max_entries)


def _in_parts(rows, candidates, values, usable, exclude_self, max_entries):
    """The same with torch's basic operations, a part of the rows at a time."""
    sums, means = [], []
    size = _size_of_parts(candidates, max_entries)
    for i, part in enumerate(rows.split(size, dim=1)):
        logits = _logits(part, candidates, usable, i * size if exclude_self else None)
        largest = logits.amax(dim=2, keepdim=True)
        weights = logits.sub_(largest).exp_()
        total = weights.sum(dim=2, keepdim=True)
        sums.append((total.log() + largest).squeeze(2))
        if values is not None:
            means.append((weights @ values).div_(total))
    return torch.cat(sums, dim=1), torch.cat(means, dim=1) if means else None


def _summed(weights, rows, candidates, usable, sums, exclude_self, max_entries):
    """Return (G, K, D): for each candidate the sum of weights (G, n, D) times its softmax."""
    if not exclude_self and max_entries is None:
        found = _summed_by_kernel(weights, rows, candidates, usable, sums)
        if found is not None:
            return found
    found, size = torch.zeros_like(candidates), _size_of_parts(candidates, max_entries)
    parts = zip(*(x.split(size, dim=1) for x in (rows, sums, weights)))
    for i, (part, total, weight) in enumerate(parts):
        logits = _logits(part, candidates, usable, i * size if exclude_self else None)
        softmax = logits.sub_(total[:, :, None]).exp_()
        found.baddbmm_(softmax.transpose(1, 2), weight)
    return found


def _summed_by_kernel(weights, rows, candidates, usable, sums):
    """The same with the roles exchanged; None where no kernel suits.

    A softmax of row i is exp(r_i . c_j - s_i). So the sum over rows is the mean over a softmax of
    candidate j over the rows, with -s_i added to each product, times that softmax's sum.
    """
    # a row without candidates would outweigh all others
    bias = torch.where(sums > 0.9 * lowest(sums), -sums, lowest(sums))
    found = fused_softmax(candidates, rows, weights, bias=bias)
    if found is None:
        return None
    logs, means = found
    found = logs.exp()[:, :, None] * means
    return found if usable is None else found.masked_fill(~usable[:, :, None], 0)


def _logits(part, candidates, usable, first_own):
    """Return (G, m, K); row i leaves candidate ``first_own + i`` out, unless that is None."""
    logits = logits_of(part, candidates, usable)
    if first_own is not None:
        logits[:, :, first_own:].diagonal(dim1=1, dim2=2).fill_(lowest(logits))
    return logits


def _size_of_parts(candidates, max_entries):
    groups, count, _ = candidates.shape
    return rows_of_part(groups * count, candidates.device, max_entries)
