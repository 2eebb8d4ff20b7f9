"""Arithmetic of a step of every method, relative to the backbone passes that it needs.

The least that every_step.py can find: products and convolutions of heads and losses are part of a
method. Counted by type, because a CPU or GPU computes bfloat16 faster than float32, in which losses
are. Everything else (batch norms, softmax, RoIAlign, optimizer, target) has few operations, though
some of it takes time.

    python benchmarks/step_flops.py
"""

import argparse
import math
from collections import Counter

import torch
from every_step import step_arguments, trainers
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class FlopsByType(TorchDispatchMode):
    """Counts floating-point operations of products and convolutions, by the type they are in.

    Attributes:
        counts: {dtype: operations}.
    """

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        packet = function._overloadpacket
        if packet is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu:
            (*groups, rows, width), (*_, candidates, out) = args[0].shape, args[2].shape
            operations = 2 * math.prod(groups) * rows * candidates * (width + out)
        elif packet in flop_registry:
            operations = flop_registry[packet](*args, **(kwargs or {}), out_val=found)
        else:
            return found
        self.counts[next(x.dtype for x in args if isinstance(x, torch.Tensor))] += operations
        return found


def operations_of(function):
    """Return {dtype: floating-point operations} of a call."""
    with FlopsByType() as counter:
        function()
    return counter.counts


def main():
    arguments = step_arguments(argparse.ArgumentParser(description=__doc__.split("\n", 1)[0]))
    print(f"{'':22s} passes, TFLOP   step / passes  bfloat16   float32")
    # counted as bfloat16 on CPUs too that only emulate it
    for method, trainer, passes in trainers(arguments, "SOLVER.AMP.PRECISION", "bfloat16"):
        trainer.step()  # queues are filled, norms of the target known
        ideal = sum(operations_of(passes).values())
        counts = operations_of(trainer.step)
        half = counts[torch.bfloat16] / ideal
        single = sum(counts.values()) / ideal - half
        shares = f"{half + single:15.3f} {half:9.3f} {single:9.3f}"
        print(f"{method:22s} {ideal / 1e12:13.3f} {shares}", flush=True)


if __name__ == "__main__":
    main()
