"""Throughput and memory of every method with a ResNet-50 at 224 pixels."""

import functools
import time

import numpy as np
import torch
from steps import backbone_passes

from gpu_parts.common import fixed_trainer, pretrain_config

# name: (method, images per batch, yacs pairs)
VARIANTS = {
    "BYOL, batch 32": ("BYOL", 32, ()),
    "BYOL, float16": ("BYOL", 64, ("SOLVER.AMP.PRECISION", "float16")),
    "BYOL, float32 (TF32)": ("BYOL", 64, ("SOLVER.AMP.ENABLED", False)),
    "BYOL, not channels-last": ("BYOL", 64, ("MODEL.CHANNELS_LAST", False)),
    "BYOL, CUDNN_BENCHMARK": ("BYOL", 64, ("CUDNN_BENCHMARK", True)),
    "BYOL, CONCATENATE_VIEWS": ("BYOL", 64, ("MODEL.SSL.CONCATENATE_VIEWS", True)),
}


def items(settings):
    """{method or variant: function}."""
    batch = 8 if settings.small else 64
    rows = {method: (method, batch, ()) for method in settings.methods}
    if not settings.small:
        rows.update({k: x for k, x in VARIANTS.items() if x[0] in settings.methods})
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
    warm_up, rounds = (1, 2) if settings.small else (5, 15)
    for _ in range(warm_up):
        trainer.step()
        passes()
    memory = peak_memory(settings, trainer.step)
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
