"""A run that is killed and resumed against one that is not."""

import functools
from pathlib import Path

import torch
from helpers import train
from isolation import restored_process

from gpu_parts.common import SMALL_BACKBONE, photos, tiny_config

# Largest difference of a weight over the largest weight of its tensor, where operations without a
# deterministic form keep the runs from being equal to the bit.
LIMIT = 1e-3
EVERY_PRECISION = ("SCRL", "MoCoV2")


def items(settings):
    """{"method precision": function}."""
    precisions = ("bfloat16", "float16", "float32") if settings.on_gpu else ("float32",)
    return {
        f"{method}, {precision}": functools.partial(compare, settings, method, precision)
        for method in settings.methods
        for precision in (precisions if method in EVERY_PRECISION else precisions[:1])
    }


def compare(settings, method, precision):
    """Compare the final weights; where they differ, also those of two uninterrupted runs."""
    torch.use_deterministic_algorithms(settings.on_gpu, warn_only=True)
    with restored_process():
        whole = run(settings, method, precision, "whole")
        resumed = run(settings, method, precision, "resumed", kill_at=4)
        difference = distance(whole, resumed)
        repeated = 0.0
        if difference > 0:
            repeated = distance(whole, run(settings, method, precision, "repeated"))
    return {
        "ok": difference <= max(LIMIT, 3 * repeated),
        "equal to the bit": difference == 0,
        "largest difference": difference,
        "of two whole runs": repeated,
    }


def run(settings, method, precision, name, kill_at=None):
    """Train six steps of the tests' tiny network; returns its final weights."""
    amp = precision != "float32"
    folder, output = photos(settings, 64), settings.scratch(f"resume_{name}")
    options = ("MODEL.DEVICE", settings.device, "DATALOADER.NUM_WORKERS", 2,
               "SOLVER.AMP.ENABLED", amp,
               "SOLVER.AMP.PRECISION", precision if amp else "auto")  # fmt: skip
    backbone = SMALL_BACKBONE if settings.on_gpu else ()
    cfg = tiny_config(method, folder, output, *backbone, *options)
    train(cfg, kill_at=kill_at)
    if kill_at is not None:
        train(cfg, resume=True)
    return torch.load(Path(output) / "model_final.pth", weights_only=True)["model"]


def distance(first, second):
    """Largest difference of an entry, relative to the largest of its tensor."""
    found = 0.0
    for key, value in first.items():
        a, b = value.double(), second[key].double()
        found = max(found, ((a - b).abs().max() / a.abs().max().clamp(min=1e-6)).item())
    return found
