"""The memory of a training step: an estimate from two images, without computing them."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from detectron2.utils.events import EventStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from ..modeling.activation_checkpoints import is_checkpointed

# Tensors with fewer numbers are computed: boxes, points, labels, whose values decide what follows.
_LARGE = 1 << 15
# Copies of a parameter that its optimizer keeps.
_OPTIMIZER_STATES = {"SGD": 1, "LARS": 1, "AdamW": 2}


@dataclass(frozen=True)
class StepMemory:
    """Bytes of one process in a training step; without CUDA and other libraries.

    Attributes:
        fixed: weights, buffers, gradients and the state of the optimizer.
        per_image: what the backward pass needs of one image.
        images: images that pass through the network at once.
    """

    fixed: int
    per_image: float
    images: int

    @property
    def total(self):
        return self.fixed + self.per_image * self.images


def estimate_memory(model, batch, images, optimizer="SGD", precision=None):
    """Estimate the memory of a step.

    The tensors that autograd keeps for the backward pass are counted in a forward pass of a copy of
    the model, in which maps have their shapes but are never computed; of activation checkpointing
    also the inside of the largest block, held while it runs again. Peaks measured on a CPU were
    within 25 % (tests/engine/test_memory.py). It grows with the images in proportion; losses that
    compare all images of a batch with each other need more.

    Args:
        model: in training mode, without wrappers. Every process must call this.
        batch: its input of two images.
        images: images that pass through the network at once.
        optimizer: SOLVER.OPTIMIZER.
        precision: type of autocast, or None.

    Returns:
        :class:`StepMemory`.
    """
    trained = [x for x in model.parameters() if x.requires_grad]
    copies = 1 + _OPTIMIZER_STATES[optimizer]
    fixed = sum(x.nbytes for x in (*model.parameters(), *model.buffers()))
    fixed += copies * sum(x.nbytes for x in trained)
    model, device = copy.deepcopy(model), next(model.parameters()).device
    kept = _Kept(model)
    for block in filter(is_checkpointed, model.modules()):  # autograd's hooks do not see these
        block.register_forward_pre_hook(kept.add_block)
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        EventStorage(),
        _ShapesOnly(),
        torch.autocast(device.type, precision, enabled=precision is not None),
        torch.autograd.graph.saved_tensors_hooks(kept.add, lambda x: x),
    ):
        losses = model(batch)
    del losses
    return StepMemory(fixed, kept.bytes() / 2, images)


class _Kept:
    """What autograd keeps, each storage once, without the model's own and cast weights."""

    def __init__(self, model):
        tensors = (*model.parameters(), *model.buffers())
        self._own = {x.untyped_storage().data_ptr() for x in tensors}
        self._shapes = {x.shape for x in model.parameters() if x.dim() > 1}
        self._kept = {}
        self._largest_block = 0

    def add(self, x):
        self._add_to(self._kept, x)
        return x

    def add_block(self, block, inputs):
        """A hook of checkpointed blocks: the input is kept, the inside while it runs again."""
        for x in inputs:
            self.add(x)
        inside = {}

        def add_inside(x):
            self._add_to(inside, x)
            return x

        with torch.autograd.graph.saved_tensors_hooks(add_inside, lambda x: x):
            type(block).forward(block, *inputs)
        size = _bytes(x for key, x in inside.items() if key not in self._kept)
        self._largest_block = max(self._largest_block, size)

    def bytes(self):
        return _bytes(self._kept.values()) + self._largest_block

    def _add_to(self, kept, x):
        storage = x.untyped_storage()
        if storage.data_ptr() not in self._own and x.shape not in self._shapes:
            kept[storage.data_ptr()] = storage  # kept, so that no other gets its address


def _bytes(storages):
    return sum(x.nbytes() for x in storages)


class _ShapesOnly(TorchDispatchMode):
    """Returns zeros of the right shape instead of maps.

    On a CPU their memory is never touched, so that they cost neither time nor memory.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        aliases = [x.alias_info for x in func._schema.arguments if x.alias_info is not None]
        if not _has_map(args) or (aliases and not any(x.is_write for x in aliases)):  # or a view
            return func(*args, **kwargs)
        if aliases:
            is_in_place = func._schema.arguments[0].alias_info is not None
            return args[0] if is_in_place else func(*args, **kwargs)
        shapes = tree_map_only(torch.Tensor, lambda x: x.to("meta"), (args, kwargs))
        if kwargs.get("device") is not None:
            shapes[1]["device"] = torch.device("meta")
        try:
            result = func(*shapes[0], **shapes[1])
        except (NotImplementedError, RuntimeError):  # its shape depends on values
            return func(*args, **kwargs)
        device = next(x for x in _flat(args) if isinstance(x, torch.Tensor)).device
        return tree_map_only(torch.Tensor, lambda x: _zeros(x, device), result)


def _flat(args):
    return [y for x in args for y in (x if isinstance(x, (list, tuple)) else [x])]


def _has_map(args):
    return any(
        isinstance(x, torch.Tensor) and x.is_floating_point() and x.dim() > 2 and x.numel() > _LARGE
        for x in _flat(args)
    )


def _zeros(like, device):
    """Zeros of the layout of a meta tensor."""
    if device.type != "cpu":
        return torch.zeros_like(like, device=device)
    count = max(like.untyped_storage().nbytes(), 1)
    storage = torch.from_numpy(np.zeros(count, np.uint8)).untyped_storage()  # no page is touched
    return torch.empty(0, dtype=like.dtype).set_(
        storage, like.storage_offset(), like.size(), like.stride()
    )
