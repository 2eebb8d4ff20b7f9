"""One optimizer step: accumulation, mixed precision, checks of the losses."""

import logging
import math
import time
from contextlib import nullcontext

import numpy as np
import torch
from detectron2.engine.train_loop import TrainerBase
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage

from ..utils.checks import require_one_of

logger = logging.getLogger(__name__)

PRECISIONS = ("auto", "bfloat16", "float16")
# The scale of float16 gradients starts at 65536 and halves at each overflow; after thirty of them
# training stops.
_SMALLEST_SCALE = 2.0**-14
# Steps without any gradient at the start of a run that end it.
_IDLE_STEPS = 20


def amp_dtype(precision, device):
    """Return the type of autocast for SOLVER.AMP.PRECISION on a device; None for full precision.

    "auto" is bfloat16 where the device computes in it. Elsewhere it is float16 on GPUs, and full
    precision on CPUs, which would only emulate bfloat16, many times slower than float32.
    """
    require_one_of("SOLVER.AMP.PRECISION", precision, PRECISIONS)
    if precision != "auto":
        return getattr(torch, precision)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if _cpu_has_bfloat16():
        return torch.bfloat16
    logger.info(
        "SOLVER.AMP.ENABLED is True, but this CPU does not compute in bfloat16: training in "
        "float32. (SOLVER.AMP.PRECISION 'bfloat16' would emulate it, many times slower.)"
    )
    return None


def _cpu_has_bfloat16():
    check = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)  # not in old torch
    return check is None or check()


class TrainStep(TrainerBase):
    """The inner trainer: what happens between two iterations.

    detectron2's SimpleTrainer and AMPTrainer in one, also for CPUs and for gradient accumulation.
    """

    def __init__(
        self, model, data_loader, optimizer, *, precision=None, accumulate=1, on_batch=None
    ):
        """
        Args:
            model: returns a dict of losses in training.
            data_loader: iterable of batches; its iterator is made at the first step.
            optimizer: torch optimizer.
            precision: type of autocast, or None for full precision.
            accumulate: batches per step.
            on_batch: called with every batch.
        """
        super().__init__()
        model.train()
        self.model = model
        self.data_loader = data_loader
        self.optimizer = optimizer
        self.accumulate = accumulate
        self.precision = precision
        self.on_batch = on_batch
        self.device = next(model.parameters()).device
        self.grad_scaler = torch.amp.GradScaler(
            self.device.type, enabled=precision == torch.float16
        )
        self._batches = None
        self._idle_steps = 0  # without a gradient, from the first one on; -1 after one with any

    def run_step(self):
        if self._batches is None:
            self._batches = iter(self.data_loader)
        data_time, totals = 0.0, {}
        self.optimizer.zero_grad()
        for part in range(self.accumulate):
            start = time.perf_counter()
            batch = next(self._batches)
            data_time += time.perf_counter() - start
            if self.on_batch is not None:
                self.on_batch(batch)
            losses = self._backward(batch, is_last=part == self.accumulate - 1)
            for key, loss in losses.items():
                totals[key] = totals.get(key, 0.0) + loss / self.accumulate
        if self._idle_steps >= 0:
            self._refuse_idleness()
        if hasattr(self, "after_backward"):  # hooks of detectron2 v0.6 do not know it
            self.after_backward()
        self.grad_scaler.unscale_(self.optimizer)  # gradients are clipped at their true size
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        if self.precision == torch.float16:
            self._check_scale()
        _write_metrics(totals, data_time)

    def _backward(self, batch, is_last):
        """Forward and backward of one batch; returns the losses as floats."""
        is_parallel = hasattr(self.model, "no_sync")
        with nullcontext() if is_last or not is_parallel else self.model.no_sync():
            with torch.autocast(
                self.device.type, self.precision, enabled=self.precision is not None
            ):
                losses = self.model(batch)
            total = sum(losses.values())
            self.grad_scaler.scale(total / self.accumulate).backward()
        # read in one transfer, after the backward pass was queued: a GPU is busy meanwhile
        values = torch.stack([x.detach() for x in losses.values()]).tolist()
        values = dict(zip(losses, values))
        self._refuse_non_finite(values)
        return values

    def _refuse_non_finite(self, values):
        if all(math.isfinite(x) for x in values.values()):
            return
        fix = "lower SOLVER.BASE_LR or lengthen the warm-up (SOLVER.WARMUP_ITERS, WARMUP_EPOCHS)"
        if self.precision == torch.float16:
            fix += ", or set SOLVER.AMP.PRECISION to 'bfloat16'"
        raise FloatingPointError(
            f"The loss is not finite at iteration {get_event_storage().iter}: {values}. Training "
            f"stops; the last checkpoint is intact. To fix it, {fix}, then go on with --resume "
            "from a checkpoint before the divergence, or start again."
        )

    def _refuse_idleness(self):
        """Raise if no parameter has had a gradient since the run began."""
        gradients = (x.grad for x in self.model.parameters())
        if any(x is not None and bool(x.any()) for x in gradients):
            self._idle_steps = -1
            return
        self._idle_steps += 1
        if self._idle_steps == _IDLE_STEPS:
            raise FloatingPointError(
                f"All gradients were zero in the first {_IDLE_STEPS} steps: nothing is learned. "
                "The weights of the losses may all be 0, every layer may be frozen, or no image "
                "may give a loss (see the statistics of the losses in metrics.json)."
            )

    def _check_scale(self):
        """Raise if every step overflows: each overflow skips the step and halves the scale."""
        scale = self.grad_scaler.get_scale()
        if scale < _SMALLEST_SCALE:
            raise FloatingPointError(
                f"Gradients are not finite in float16 at iteration {get_event_storage().iter}, "
                "however small their scale: every step is skipped and nothing is learned. Set "
                "SOLVER.AMP.PRECISION to 'bfloat16' or SOLVER.AMP.ENABLED to False, or lower "
                "SOLVER.BASE_LR."
            )
        get_event_storage().put_scalar("grad_scale", scale)

    def state_dict(self):
        return {
            "iteration": self.iter,
            "optimizer": self.optimizer.state_dict(),
            "grad_scaler": self.grad_scaler.state_dict(),
        }

    def load_state_dict(self, state_dict):
        self.iter = state_dict["iteration"]
        self.optimizer.load_state_dict(state_dict["optimizer"])
        if state_dict["grad_scaler"]:  # empty in a run in another precision
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])


def _write_metrics(losses, data_time):
    """Store the losses, averaged over processes, and the longest wait for data."""
    gathered = comm.gather({**losses, "data_time": data_time})
    if not comm.is_main_process():
        return
    storage = get_event_storage()
    storage.put_scalar("data_time", max(x.pop("data_time") for x in gathered))
    means = {key: float(np.mean([x[key] for x in gathered])) for key in gathered[0]}
    storage.put_scalar("total_loss", sum(means.values()))
    if len(means) > 1 or "total_loss" not in means:
        storage.put_scalars(**means)
