"""Collectives; none of them does anything in a single process."""

import torch.distributed as dist
from detectron2.utils import comm


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
