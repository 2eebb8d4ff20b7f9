"""The losses of a step, from all processes, without a wait for the device."""

from collections import deque
from dataclasses import dataclass
from typing import Optional

import torch
import torch.distributed as dist
from detectron2.utils import comm


@dataclass
class _Row:
    iteration: int
    names: list
    parts: int
    values: torch.Tensor  # (processes, parts x losses + 1), on the CPU
    copied: Optional["torch.cuda.Event"]


class StepNumbers:
    """Holds the losses of the latest steps until they can be read for free.

    A GPU works through a queue that the host fills. Reading a loss makes the host wait until the
    queue is empty, and the GPU wait for the next step. So on a GPU the numbers of a step are copied
    behind it, and read once the next step has been queued; on a CPU they are read at once. All
    processes read the same numbers at the same step.
    """

    def __init__(self, device):
        """
        Args:
            device: torch device of the losses.
        """
        self._lag = 1 if device.type == "cuda" else 0
        self._rows = deque()

    def put(self, iteration, losses, data_time):
        """Take the numbers of one step; every process must call it.

        Args:
            iteration: of the step.
            losses: list of {name: scalar tensor}, one for each of the accumulated batches.
            data_time: seconds that this process has waited for data.
        """
        names = list(losses[0])
        values = torch.stack([x[name] for x in losses for name in names]).double()
        values = torch.cat([values, torch.full_like(values[:1], data_time)])
        copied, values = None, _gathered(values)
        if values.is_cuda:
            values = values.to("cpu", non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
        self._rows.append(_Row(iteration, names, len(losses), values, copied))

    def read(self, everything=False):
        """Yield (iteration, {name: mean over parts and processes}, longest wait for data).

        Args:
            everything: also the latest step, for which a GPU is waited for.
        """
        while len(self._rows) > (0 if everything else self._lag):
            row = self._rows.popleft()
            if row.copied is not None:
                row.copied.synchronize()
            *losses, data_times = row.values.T.tolist()
            count = len(row.names)
            means = {
                name: _mean([sum(x) / row.parts for x in zip(*losses[i::count])])
                for i, name in enumerate(row.names)
            }
            yield row.iteration, means, max(data_times)


def _gathered(values):
    """Return the values (N,) of all processes, (P, N)."""
    if comm.get_world_size() == 1:
        return values[None]
    found = [torch.empty_like(values) for _ in range(comm.get_world_size())]
    dist.all_gather(found, values)
    return torch.stack(found)


def _mean(values):
    return sum(values) / len(values)
