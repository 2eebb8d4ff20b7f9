"""The normaliser of contrastive losses: log sum exp of the products of rows with candidates.

Shapes: G groups, n rows of a group, K candidates of a group, D channels.
"""

import torch
from torch.autograd.function import once_differentiable

from .candidates import left_out, logits_of
from .chunks import rows_of_part

# Not public, so it may be gone in another version; basic operations do the same.
_KERNEL = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)


def log_sum_exp(rows, candidates, usable=None, lengths=None, max_entries=None):
    r"""Return :math:`\log \sum_j \exp(r_i \cdot c_j)` for every row.

    The gradient of a row is the mean of the candidates, weighted by their softmax. It is computed
    beside the sum, from the same exponentials. The gradients of candidates depend on those of the
    output: for them the products are computed again.

    Args:
        rows: (G, n, D). candidates: (G, K, D).
        usable: (G, K) bool, the candidates that count; None: all. A row of a group without any has
            a large negative output.
        lengths: (K,), by which the products with the candidates are divided; None: 1. The
            candidates must be constants then.
        max_entries: largest number of products that are held at once; None:
            :func:`~.chunks.largest_part`, or, on a CPU, torch's own blocks.

    Returns:
        (G, n); -inf without candidates.
    """
    if not candidates.shape[1]:
        return rows.sum(dim=2) * 0 - torch.inf
    return _LogSumExp.apply(rows, candidates, usable, lengths, max_entries)


class _LogSumExp(torch.autograd.Function):
    """See :func:`log_sum_exp`."""

    @staticmethod
    def forward(ctx, rows, candidates, usable, lengths, max_entries):
        ctx.max_entries = max_entries
        needs_rows, needs_candidates = ctx.needs_input_grad[:2]
        if lengths is None and max_entries is None and _suits_kernel(rows):
            sums, means = _in_blocks(rows, candidates, usable)
        else:
            sums, means = _in_parts(rows, candidates, usable, lengths, max_entries, needs_rows)
        if needs_candidates:
            assert lengths is None, "candidates that are divided by lengths have no gradient"
            ctx.save_for_backward(means, rows, candidates, usable, sums)
        else:
            ctx.save_for_backward(means)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        means, *saved = ctx.saved_tensors
        # somebody may call backward() within autocast
        with torch.autocast(gradient.device.type, enabled=False):
            of_rows = gradient[:, :, None] * means if ctx.needs_input_grad[0] else None
            of_candidates = _of_candidates(gradient, ctx.max_entries, *saved) if saved else None
        return of_rows, of_candidates, None, None, None


def _suits_kernel(rows):
    # it divides by the number of rows
    return _KERNEL is not None and rows.is_cpu and rows.numel() > 0


def _in_blocks(rows, candidates, usable):
    """Return (sums (G, n), softmax means (G, n, D)) by torch's attention for CPUs.

    Attention whose values are its keys is that mean, and its kernel keeps the sums for its own
    backward pass.
    """
    mask = None if usable is None else left_out(usable, rows)[:, None, None]  # (G, 1, 1, K)
    rows, candidates = (x[:, None].contiguous() for x in (rows, candidates))
    means, sums = _KERNEL(rows, candidates, candidates, attn_mask=mask, scale=1.0)
    return sums[:, 0], means[:, 0]


def _in_parts(rows, candidates, usable, lengths, max_entries, needs_means):
    """The same with torch's basic operations, a part of the rows at a time; means may be None."""
    sums, means = [], []
    for part in rows.split(_size_of_parts(candidates, max_entries), dim=1):
        logits = logits_of(part, candidates, usable)  # (G, m, K)
        logits = logits if lengths is None else logits.div_(lengths)
        largest = logits.amax(dim=2, keepdim=True)
        weights = logits.sub_(largest).exp_()
        total = weights.sum(dim=2, keepdim=True)
        sums.append((total.log() + largest).squeeze(2))
        if needs_means:
            weights = weights if lengths is None else weights.div_(lengths)
            means.append((weights @ candidates).div_(total))
    return torch.cat(sums, dim=1), torch.cat(means, dim=1) if needs_means else None


def _of_candidates(gradient, max_entries, rows, candidates, usable, sums):
    """Return (G, K, D): each candidate's softmax-weighted sum of the rows times their gradients."""
    found, size = torch.zeros_like(candidates), _size_of_parts(candidates, max_entries)
    for part, total, weight in zip(*(x.split(size, dim=1) for x in (rows, sums, gradient))):
        softmax = logits_of(part, candidates, usable).sub_(total[:, :, None]).exp_()
        found.baddbmm_(softmax.transpose(1, 2), part * weight[:, :, None])
    return found


def _size_of_parts(candidates, max_entries):
    groups, count, _ = candidates.shape
    return rows_of_part(groups * count, candidates.device, max_entries)
