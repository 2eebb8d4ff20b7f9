"""Rows that processes exchange, and what they would be if all were gathered."""

import torch
from detectron2.utils import comm

from dense_ssl.utils.distributed import exchange_rows, gather_rows, shared_permutation


def rows_of(rank, shape, dtype):
    count = torch.Size(shape).numel()
    return torch.arange(rank * count, (rank + 1) * count).view(shape).to(dtype)


def exchanged(shape, dtype, step):
    """Return (what exchange_rows gives, the same by gathering all rows, whether it has a graph)."""
    rows, rank, count = rows_of(comm.get_rank(), shape, dtype), comm.get_rank(), shape[0]
    if len(shape) == 4:
        rows = rows.to(memory_format=torch.channels_last)
    if dtype.is_floating_point:
        rows.requires_grad_()
    order = shared_permutation(comm.get_world_size() * count, step)
    found = exchange_rows(rows, order)
    expected = gather_rows(rows)[order][rank * count :][:count]
    back = exchange_rows(found, order.argsort())
    return found, expected, torch.equal(back, rows), found.requires_grad
