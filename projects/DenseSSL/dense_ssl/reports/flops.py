"""Arithmetic of a network, counted without doing it.

Counted are convolutions and matrix products (and attention), as everyone does: the rest is about
one percent. One multiply-add is two floating-point operations (FLOPs).
"""

from dataclasses import dataclass

import torch
from detectron2.utils.events import EventStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

try:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode, flop_registry
except ImportError as error:
    raise ImportError("Counting FLOPs needs torch 2.3 or later.") from error

FLOPS_PER_MULTIPLY_ADD = 2


@dataclass(frozen=True)
class MultiplyAdds:
    """Of one forward pass: all of them, and those in modules that do not train."""

    total: int
    frozen: int

    @property
    def training_flops(self):
        """FLOPs of a training step: the backward pass costs twice the forward pass, or nothing.

        Twice, as each product is differentiated by both of its factors. Nothing in a frozen module,
        where nothing before it trains.
        """
        return FLOPS_PER_MULTIPLY_ADD * (3 * self.total - 2 * self.frozen)


def count_forward(model, inputs):
    """Count a forward pass of a model, in the mode (training or evaluation) that it is in.

    Products give zeros instead of being computed, so it takes seconds where a pass on a CPU takes
    long; all else (anchors, matching, sampling of regions) runs as it is.

    Args:
        model: on the CPU. inputs: the model's only argument.

    Returns:
        :class:`MultiplyAdds`.
    """
    counter, frozen = FlopCounterMode(display=False), _FrozenShare()
    handles = [x for module in frozen_parts(model) for x in frozen.watch(module, counter)]
    try:
        # the counter knows attention on a CPU only as the matrix products that it is made of
        with torch.no_grad(), EventStorage(), sdpa_kernel(SDPBackend.MATH), _ShapesOnly(), counter:
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return MultiplyAdds(
        counter.get_total_flops() // FLOPS_PER_MULTIPLY_ADD, frozen.flops // FLOPS_PER_MULTIPLY_ADD
    )


def frozen_parts(model):
    """The largest modules that have parameters of which none trains."""
    if _is_frozen(model):
        return [model]
    return [part for child in model.children() for part in frozen_parts(child)]


def _is_frozen(module):
    flags = [x.requires_grad for x in module.parameters()]
    return bool(flags) and not any(flags)


class _FrozenShare:
    """Adds up what a counter counts between the beginning and the end of modules."""

    def __init__(self):
        self.flops = 0

    def watch(self, module, counter):
        def begin(*_):
            self.flops -= counter.get_total_flops()

        def end(*_):
            self.flops += counter.get_total_flops()

        return module.register_forward_pre_hook(begin), module.register_forward_hook(end)


class _ShapesOnly(TorchDispatchMode):
    """Gives zeros of the right shape for every operation that FLOPs are counted of."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(func, "overloadpacket", None) not in flop_registry:
            return func(*args, **kwargs)
        args, kwargs = tree_map_only(torch.Tensor, lambda x: x.to("meta"), (args, kwargs))
        result = func(*args, **kwargs)
        return tree_map_only(torch.Tensor, lambda x: torch.zeros_like(x, device="cpu"), result)
