"""FLOPs of a network, counted without computing it.

Convolutions, matrix products and attention are counted; the rest is about one percent. One
multiply-add is two floating-point operations (FLOPs).
"""

from dataclasses import dataclass

import torch
from detectron2.utils.events import EventStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

try:
    import torch.utils.module_tracker  # noqa: F401  counts by module
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode, flop_registry
except ImportError as error:
    raise ImportError("Counting FLOPs needs torch 2.4 or later.") from error

FLOPS_PER_MULTIPLY_ADD = 2


@dataclass(frozen=True)
class MultiplyAdds:
    """Multiply-adds of one forward pass: all of them, and those in frozen modules."""

    total: int
    frozen: int

    @property
    def training_flops(self):
        """FLOPs of a training step.

        The backward pass costs twice the forward pass, because each product is differentiated by
        both factors. It skips frozen modules, assuming that nothing before them trains.
        """
        return FLOPS_PER_MULTIPLY_ADD * (3 * self.total - 2 * self.frozen)


def count_forward(model, inputs):
    """Count a forward pass of a model in its present mode (training or evaluation).

    Products return zeros instead of being computed, which takes seconds even for large models on a
    CPU; everything else (anchors, matching, sampling of regions) runs as usual.

    Args:
        model: on the CPU. inputs: the model's only argument.

    Returns:
        :class:`MultiplyAdds`.
    """
    counter = FlopCounterMode(display=False)
    # the counter has no entry for fused attention on a CPU, only for its matrix products
    with torch.no_grad(), EventStorage(), sdpa_kernel(SDPBackend.MATH), _ShapesOnly(), counter:
        model(inputs)
    counts = counter.get_flop_counts()
    frozen = sum(sum(counts.get(x, {}).values()) for x in frozen_parts(model))
    return MultiplyAdds(
        counter.get_total_flops() // FLOPS_PER_MULTIPLY_ADD, frozen // FLOPS_PER_MULTIPLY_ADD
    )


def frozen_parts(module, name=None):
    """Return the names of the largest modules that have parameters of which none trains.

    Args:
        module: a module. name: what FlopCounterMode calls it; default: its class, as for a model.
    """
    name = name or type(module).__name__
    flags = [x.requires_grad for x in module.parameters()]
    if flags and not any(flags):
        return [name]
    children = module.named_children()
    return [part for x, child in children for part in frozen_parts(child, f"{name}.{x}")]


class _ShapesOnly(TorchDispatchMode):
    """Returns zeros of the right shape for every counted operation."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(func, "overloadpacket", None) not in flop_registry:
            return func(*args, **kwargs)
        args, kwargs = tree_map_only(torch.Tensor, lambda x: x.to("meta"), (args, kwargs))
        result = func(*args, **kwargs)
        return tree_map_only(torch.Tensor, lambda x: torch.zeros_like(x, device="cpu"), result)
