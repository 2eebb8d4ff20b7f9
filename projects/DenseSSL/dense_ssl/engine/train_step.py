"""One optimizer step: accumulation, mixed precision, checks of the losses."""

import logging
import math
import time
from contextlib import nullcontext

import torch
from detectron2.engine.train_loop import TrainerBase
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage

from ..utils.checks import require_one_of
from ..utils.events import is_logged
from .step_numbers import StepNumbers

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
        self._numbers = StepNumbers(self.device)
        self._idle_steps = 0  # without a gradient, from the first one on; -1 after one with any

    def run_step(self):
        if self._batches is None:
            self._batches = iter(self.data_loader)
        data_time, losses = 0.0, []
        self.optimizer.zero_grad()
        for part in range(self.accumulate):
            start = time.perf_counter()
            batch = next(self._batches)
            data_time += time.perf_counter() - start
            if self.on_batch is not None:
                self.on_batch(batch)
            losses.append(self._backward(batch, is_last=part == self.accumulate - 1))
        self._numbers.put(get_event_storage().iter, losses, data_time)
        self.read_numbers(everything=is_logged())
        if self._idle_steps >= 0:
            self._refuse_idleness()
        if hasattr(self, "after_backward"):  # hooks of detectron2 v0.6 do not know it
            self.after_backward()
        self.grad_scaler.unscale_(self.optimizer)  # gradients are clipped at their true size
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        if self.precision == torch.float16:
            self._check_scale()

    def _backward(self, batch, is_last):
        """Forward and backward of one batch; returns the losses."""
        is_parallel = hasattr(self.model, "no_sync")
        with nullcontext() if is_last or not is_parallel else self.model.no_sync():
            with torch.autocast(
                self.device.type, self.precision, enabled=self.precision is not None
            ):
                losses = self.model(batch)
            total = sum(losses.values())
            self.grad_scaler.scale(total / self.accumulate).backward()
        return {key: x.detach() for key, x in losses.items()}

    def read_numbers(self, everything=True):
        """Store the losses of the steps that are done, or raise if one is not finite.

        Args:
            everything: also those of the latest step, for which a GPU is waited for.
        """
        for iteration, losses, data_time in self._numbers.read(everything):
            self._refuse_non_finite(iteration, losses)
            if comm.is_main_process():
                _store(iteration, losses, data_time)

    def _refuse_non_finite(self, iteration, values):
        if all(math.isfinite(x) for x in values.values()):
            return
        fix = "lower SOLVER.BASE_LR or lengthen the warm-up (SOLVER.WARMUP_ITERS, WARMUP_EPOCHS)"
        if self.precision == torch.float16:
            fix += ", or set SOLVER.AMP.PRECISION to 'bfloat16'"
        raise FloatingPointError(
            f"The loss is not finite at iteration {iteration}: {values}. Training "
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
        self.read_numbers()  # no checkpoint after a loss that is not finite
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


def _store(iteration, losses, data_time):
    """Put the numbers of an iteration into the storage, which may be at a later one."""
    storage = get_event_storage()
    now, storage.iter = storage.iter, iteration
    storage.put_scalar("data_time", data_time)
    storage.put_scalar("total_loss", sum(losses.values()))
    if len(losses) > 1 or "total_loss" not in losses:
        storage.put_scalars(**losses)
    storage.iter = now
