"""Steps of every method on the device against the CPU's in float32."""

import copy
import functools

import torch

from gpu_parts.common import fixed_trainer, pretrain_config

STEPS = 2
# Largest relative error of a loss at the first step and after a step, and smallest cosine between
# the gradients of the backbone at the first step. Rounding grows through fifty layers with random
# weights: it is 0.998 between two devices in float32, and in bfloat16 it says nothing (BYOL's is
# 0.17 on a CPU). "tf32" is float32 with torch's default, TF32 in convolutions.
LIMITS = {
    "float32": (1e-4, 0.02, 0.99),
    "tf32": (5e-3, 0.1, 0.5),
    "bfloat16": (0.05, 0.25, -1.0),
    "float16": (0.02, 0.1, 0.5),
}
# A loss near zero is compared absolutely.
SMALLEST_LOSS = 0.25


def items(settings):
    """{"method precision": function}."""
    kinds = [x for x in LIMITS if settings.on_gpu or x != "tf32"]
    reference = functools.lru_cache(1)(lambda method: trajectory(settings, method, "cpu"))
    return {
        f"{method}, {kind}": functools.partial(compare, settings, method, kind, reference)
        for method in settings.methods
        for kind in kinds
    }


def compare(settings, method, kind, reference):
    """Run a method's steps in a precision and compare them with the reference."""
    expected, found = reference(method), trajectory(settings, method, settings.device, kind)
    errors = [_error(a, b) for a, b in zip(found["losses"], expected["losses"])]
    cosine = torch.cosine_similarity(found["gradient"], expected["gradient"], dim=0).item()
    first, later, least = LIMITS[kind]
    return {
        "ok": errors[0] <= first and max(errors[1:]) <= later and cosine >= least,
        "loss on the CPU": sum(expected["losses"][0].values()),
        "loss": sum(found["losses"][0].values()),
        "error": errors[0],
        "error after a step": max(errors[1:]),
        "cosine of gradients": cosine,
        "steps skipped": found["skipped"],
        "_losses": found["losses"],
        "_expected": expected["losses"],
    }


def trajectory(settings, method, device, kind="float32"):
    """Return losses, first gradient and skipped steps of a few steps on one batch.

    A step that float16 skips because its gradients overflow is taken back and repeated.
    """
    torch.backends.cudnn.allow_tf32 = kind == "tf32"
    amp = kind in ("bfloat16", "float16")
    options = ("MODEL.DEVICE", device, "SOLVER.AMP.ENABLED", amp,
               "SOLVER.AMP.PRECISION", kind if amp else "auto")  # fmt: skip
    trainer = fixed_trainer(pretrain_config(settings, method, 8, *options))
    scaler = trainer._trainer.grad_scaler
    losses, gradient, skipped = [], None, 0
    while len(losses) < STEPS:
        before, scale = copy.deepcopy(trainer.model.state_dict()), scaler.get_scale()
        trainer.step()
        with trainer.storage:  # on a GPU a step's losses are read a step later
            trainer._trainer.read_numbers()
        if scaler.get_scale() < scale:
            skipped += 1
            trainer.model.load_state_dict(before)
            continue
        latest = trainer.storage.latest()
        losses.append({key: x for key, (x, _) in latest.items() if key.startswith("loss_")})
        if gradient is None:
            gradient = torch.cat(
                [x.grad.double().flatten().cpu() for x in trainer.model.backbone.parameters()]
            )
    return {"losses": losses, "gradient": gradient, "skipped": skipped}


def _error(losses, expected):
    """Largest relative error of the losses of a step."""
    return max(abs(losses[k] - x) / max(abs(x), SMALLEST_LOSS) for k, x in expected.items())
