"""Throughput and memory of every method with a ResNet-50 at 224 pixels."""

import functools
import time

import numpy as np
import torch
from steps import backbone_passes

from gpu_parts.common import fixed_trainer, pretrain_config

# name: (method, yacs pairs)
VARIANTS = {
    "BYOL, float16": ("BYOL", ("SOLVER.AMP.PRECISION", "float16")),
    "BYOL, float32 (TF32)": ("BYOL", ("SOLVER.AMP.ENABLED", False)),
    "BYOL, not channels-last": ("BYOL", ("MODEL.CHANNELS_LAST", False)),
    "BYOL, CUDNN_BENCHMARK": ("BYOL", ("CUDNN_BENCHMARK", True)),
    "BYOL, CONCATENATE_VIEWS": ("BYOL", ("MODEL.SSL.CONCATENATE_VIEWS", True)),
    "BYOL, CHECKPOINT_ACTIVATIONS": ("BYOL", ("MODEL.SSL.CHECKPOINT_ACTIVATIONS", True)),
    **{
        f"{method}, LOSS_PRODUCTS": (method, ("MODEL.SSL.LOSS_PRODUCTS", "bfloat16"))
        for method in ("DUPR", "PointRegionContrast", "DenseCL")
    },
    "BYOL, COLOR_ON_DEVICE": ("BYOL", ("INPUT.COLOR_ON_DEVICE", True)),
}
# Seconds for the rounds of an item, and fewest and most rounds.
ROUNDS_SECONDS, ROUNDS = 5, (5, 15)


def items(settings):
    """{"method, images per batch": function}; variants with the first number of images."""
    batches = [8] if settings.small else settings.batches
    rows = {f"{method}, {batch}": (method, batch, ())
            for batch in batches for method in settings.methods}  # fmt: skip
    if not settings.small:
        rows.update({f"{name}, {batches[0]}": (method, batches[0], options)
                     for name, (method, options) in VARIANTS.items()
                     if method in settings.methods})  # fmt: skip
    return {
        name: functools.partial(measure, settings, method, batch, options)
        for name, (method, batch, options) in rows.items()
    }


def measure(settings, method, batch, options):
    """Time the steps of a method, and the passes of its backbone, in turns."""
    options = ("SOLVER.AMP.ENABLED", True, *options)
    if not settings.on_gpu:
        options += ("SOLVER.AMP.ENABLED", False)
    trainer = fixed_trainer(pretrain_config(settings, method, batch, *options))
    passes = backbone_passes(trainer)
    for _ in range(1 if settings.small else 3):
        trainer.step()
        passes()
    memory = peak_memory(settings, trainer.step)
    length = seconds(settings, trainer.step) + seconds(settings, passes)
    rounds = 2 if settings.small else int(np.clip(ROUNDS_SECONDS / length, *ROUNDS))
    times = [[seconds(settings, x) for x in (trainer.step, passes)] for _ in range(rounds)]
    step, ideal = np.array(times).T
    return {
        "ok": None,
        "batch": batch,
        "images/s": batch / np.median(step),
        "step, ms": 1e3 * np.median(step),
        "its backbone passes, ms": 1e3 * np.median(ideal),
        "step / passes": np.median(step / ideal),
        "range": [float(x) for x in (np.min(step / ideal), np.max(step / ideal))],
        "peak GiB": memory,
        "_kernels": kernels(trainer.step) if settings.on_gpu and len(options) == 2 else None,
    }


def seconds(settings, function):
    """Return the time of one call, the device's work included."""
    synchronize(settings)
    start = time.perf_counter()
    function()
    synchronize(settings)
    return time.perf_counter() - start


def synchronize(settings):
    """Wait for the device."""
    if settings.on_gpu:
        torch.cuda.synchronize()


def peak_memory(settings, function):
    """Return the largest memory in use during a call, in GiB; None without a GPU."""
    if not settings.on_gpu:
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    function()
    return torch.cuda.max_memory_allocated() / 2**30


def kernels(function, count=20):
    """Return the operations that take most of the device's time, as a table."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        function()
        torch.cuda.synchronize()
    table = profile.key_averages().table(sort_by="self_cuda_time_total", row_limit=count)
    return table.splitlines()
