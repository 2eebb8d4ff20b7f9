"""Collectives; none of them does anything in a single process."""

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch.distributed.nn.functional import all_gather


def mean_over_processes(tensor):
    """Mean of ``tensor`` over all processes, without gradient."""
    if comm.get_world_size() == 1:
        return tensor.detach()
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total / comm.get_world_size()


def weigh_by_count(mean_loss, count):
    """Scale a mean over ``count`` local items so that all items of all processes weigh the same.

    Data-parallel training averages the gradients of the processes. Where the processes hold
    different numbers of items, an average of their means weighs the items of small shares more;
    scaled by ``count / mean count``, the average is the mean over all items.

    Args:
        mean_loss: scalar, mean over the items of this process.
        count: scalar tensor, number of items of this process.

    Returns:
        Scalar; zero (with its graph) where no process has an item.
    """
    mean_count = mean_over_processes(count)
    return mean_loss * (count / mean_count.clamp(min=1e-12)).to(mean_loss.dtype)


@torch.no_grad()
def gather_rows(tensor):
    """Rows of all processes, in the order of the global batch, without gradient.

    Args:
        tensor: (N, ...), of the same shape in all processes.

    Returns:
        (world size * N, ...).
    """
    if comm.get_world_size() == 1:
        return tensor.detach()
    tensor = tensor.detach().contiguous()
    parts = [torch.empty_like(tensor) for _ in range(comm.get_world_size())]
    dist.all_gather(parts, tensor)
    return torch.cat(parts)


def gather_rows_with_gradient(tensor):
    """Rows of all processes, in the order of the global batch; the gradient of each reaches all.

    Args:
        tensor: (N, ...), of the same shape in all processes.

    Returns:
        (world size * N, ...).
    """
    if comm.get_world_size() == 1:
        return tensor
    return torch.cat(all_gather(tensor.contiguous()))


def own_rows(rows):
    """The share of this process of rows that :func:`gather_rows` gave."""
    share = len(rows) // comm.get_world_size()
    return rows[comm.get_rank() * share :][:share]


def other_rows(rows, valid):
    """Valid rows of the other processes, without gradient.

    Args:
        rows: (N, P, D). valid: (N, P) bool. Of the same shape in all processes.

    Returns:
        (M, D).
    """
    size, rank = comm.get_world_size(), comm.get_rank()
    rows = gather_rows(rows).unflatten(0, (size, -1))  # (world size, N, P, D)
    valid = gather_rows(valid).unflatten(0, (size, -1)).clone()
    valid[rank] = False
    return rows[valid]


def shared_permutation(count, step):
    """A permutation of ``count`` rows, on the host: equal in all processes, another each step."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(step))


@torch.no_grad()
def exchange_rows(rows, order):
    """The share of this process of ``everything[order]``: the rows of all processes, reordered.

    A process gets the rows that it needs and no others; with :func:`gather_rows` it would get all.

    Args:
        rows: (N, ...), of the same shape in all processes.
        order: permutation of world size * N, on the host, equal in all processes.

    Returns:
        (N, ...), without gradient.
    """
    size, rank, count = comm.get_world_size(), comm.get_rank(), len(rows)
    needed = order.view(size, count)  # by the process that gets them
    owner = needed // count
    sent = [x[y == rank] - rank * count for x, y in zip(needed, owner)]
    outbox = rows.detach()[torch.cat(sent).to(rows.device, non_blocking=True)].contiguous()
    inbox = torch.empty_like(outbox)
    received = owner[rank].bincount(minlength=size).tolist()
    dist.all_to_all_single(inbox, outbox, received, [len(x) for x in sent])
    # rows come in the order of the processes, and of their places in the share
    places = owner[rank].argsort(stable=True).to(rows.device, non_blocking=True)
    result = torch.empty_like(inbox)
    result[places] = inbox
    return result
