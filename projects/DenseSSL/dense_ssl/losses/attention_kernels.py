"""Torch's fused attention: normalisers and means of a softmax, without the matrix of products.

The operations are not public, so they may be gone in another version; basic operations do the same.
"""

import contextlib
from contextvars import ContextVar

import torch
from torch.nn import functional as F

from .candidates import left_out

_ON_CPU = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
_ON_GPU = getattr(torch.ops.aten, "_scaled_dot_product_efficient_attention", None)
# A GPU's kernel takes 64 rows to a block, which goes over all candidates alone: with fewer blocks
# than this most of the GPU is idle.
_ROWS_OF_BLOCK, _LEAST_BLOCKS = 64, 64
_AMPERE = (8, 0)  # the first GPUs that compute in bfloat16
# What an installation without the kernel for a GPU says.
_ABSENT = ("no kernel found", "compiled", "not implemented")
_products = ContextVar("products", default=torch.float32)


@contextlib.contextmanager
def products_in(dtype):
    """Compute the products of :func:`fused_softmax` in a type where a GPU can, such as bfloat16.

    Those of the gradients of candidates stay in float32, and so does everything on CPUs.
    """
    token = _products.set(dtype)
    try:
        yield
    finally:
        _products.reset(token)


def fused_softmax(rows, candidates, values, usable=None, bias=None):
    r"""Return the normalisers and the means of a softmax.

    On a GPU each product is three of TF32 (from Ampere on), as exact as float32's, or one of the
    type of :func:`products_in`.

    Args:
        rows: (G, n, D). candidates: (G, K, D). values: (G, K, V).
        usable: (G, K) bool, the candidates that count; None: all.
        bias: (G, K), added to the products with a candidate, or None; instead of ``usable``.

    Returns:
        :math:`\log \sum_j \exp(r_i \cdot c_j + b_j)`, (G, n), and the means of the values weighted
        by that softmax, (G, n, V); None where no kernel suits.
    """
    if not rows.numel() or not candidates.numel():  # the kernels divide by their numbers
        return None
    on_cpu = rows.is_cpu and _ON_CPU is not None
    if not on_cpu and not _suits_gpu(rows, values):
        return None
    # a bias is not rounded to bfloat16; a mask loses nothing
    dtype = torch.float32 if bias is not None or on_cpu else _usable_type(rows.device)
    bias = bias if usable is None else left_out(usable, rows)
    bias = None if bias is None else bias[:, None, None]  # (G, 1, 1, K)
    heads = [x[:, None] for x in (rows, candidates, values)]  # (G, 1, ., D)
    if on_cpu:
        found = _ON_CPU(*(x.contiguous() for x in heads), attn_mask=bias, scale=1.0)
    else:
        found = _on_gpu(heads, bias, dtype)
    if found is None:
        return None
    means, sums = found
    return sums[:, 0], means[:, 0]


def _usable_type(device):
    can = torch.cuda.get_device_capability(device) >= _AMPERE
    return _products.get() if can else torch.float32


def _suits_gpu(rows, values):
    groups, count, _ = rows.shape
    aligned = all(x.shape[2] % 8 == 0 for x in (rows, values))
    blocks = groups * -(-count // _ROWS_OF_BLOCK)
    return (
        _ON_GPU is not None
        and rows.is_cuda
        and torch.version.cuda is not None
        and rows.dtype == torch.float32
        and aligned
        and groups < 2**16  # blocks along a grid's last axis
        and blocks >= _LEAST_BLOCKS
    )


def _on_gpu(heads, bias, dtype):
    count = heads[0].shape[2]
    heads = [x.to(dtype).contiguous() for x in heads]
    if bias is not None:
        columns = bias.shape[3]
        # the kernel reads eight numbers of a row at once
        bias = F.pad(bias.to(dtype), (0, -columns % 8))[..., :columns].expand(-1, -1, count, -1)
    try:
        means, sums, *_ = _ON_GPU(*heads, bias, True, scale=1.0)
    except RuntimeError as error:
        if not any(x in str(error) for x in _ABSENT):
            raise
        return None
    return means.float(), sums[:, :, :count]  # rows are padded to a multiple of 32
