"""Activation checkpointing: less memory for a longer step (Chen et al. 2016).

A block of a ResNet keeps its input alone, and computes what is inside of it again when the backward
pass comes to it.
"""

import contextlib
import functools

import torch
from detectron2.layers import CNNBlockBase
from torch.utils.checkpoint import checkpoint

KEY = "MODEL.SSL.CHECKPOINT_ACTIVATIONS"


def checkpoint_activations(backbone):
    """Let every residual block of a backbone compute its inside again for its gradients, in place.

    Features, gradients and the running statistics of batch norms stay the same.

    Raises:
        ValueError: the backbone has no blocks of detectron2.
    """
    blocks = checkpointed_blocks(backbone)
    if not blocks:
        raise ValueError(
            f"{KEY} is True, but {type(backbone).__name__} is not made of detectron2's residual "
            "blocks. Choose a ResNet of detectron2, or set it to False and raise "
            "SOLVER.ACCUMULATE."
        )
    for block in blocks:
        block.forward = functools.partial(_forward, block)


def checkpointed_blocks(backbone):
    """Return the blocks of a backbone that can compute their inside again."""
    return [x for x in backbone.modules() if isinstance(x, CNNBlockBase)]


def is_checkpointed(block):
    """Return True for a block changed by :func:`checkpoint_activations`."""
    return isinstance(vars(block).get("forward"), functools.partial)


def _forward(block, x):
    forward = functools.partial(type(block).forward, block)
    if not (torch.is_grad_enabled() and block.training):
        return forward(x)
    return checkpoint(
        forward,
        x,
        use_reentrant=False,
        context_fn=lambda: (contextlib.nullcontext(), _kept_buffers(block)),
    )


@contextlib.contextmanager
def _kept_buffers(block):
    """The second pass sees the same images: running statistics must not move again."""
    before = [(x, x.clone()) for x in block.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            # not in place for autograd: norms keep their buffers for the backward pass
            buffer.data.copy_(value)
