"""Images per second that the processes of the loader make, alone and feeding the device."""

import functools
import os
import time

import torch
from detectron2.utils.events import EventStorage
from helpers import build_trainer

from dense_ssl.data.views.loader import build_pretrain_loader
from gpu_parts.common import photos, pretrain_config


def items(settings):
    """{what is measured: function}."""
    cores = len(os.sched_getaffinity(0))
    counts = [1] if settings.small else sorted({max(cores // 2, 1), cores})
    methods = ["BYOL"] if settings.small else ["BYOL", "SelfEMD"]
    found = {
        f"{method}, {count} processes": functools.partial(rate_alone, settings, method, count)
        for method in methods
        for count in counts
    }
    found[f"BYOL trained from files, {counts[-1]} processes"] = functools.partial(
        rate_in_training, settings, "BYOL", counts[-1]
    )
    return found


def loader_config(settings, method, workers, batch):
    """Return the config of a method on a folder of eight batches."""
    folder = photos(settings, batch * 8)
    return pretrain_config(settings, method, batch, "DATASETS.TRAIN", (f"folder:{folder}",),
                           "DATALOADER.NUM_WORKERS", workers,
                           "SOLVER.AMP.ENABLED", settings.on_gpu)  # fmt: skip


def rate_alone(settings, method, workers):
    """Read batches and do nothing with them."""
    batch, count = (8, 4) if settings.small else (128, 32)
    cfg = loader_config(settings, method, workers, batch)
    batches = iter(build_pretrain_loader(cfg, 0))
    for _ in range(2 * workers):  # as many as are made ahead
        next(batches)
    start = time.perf_counter()
    for _ in range(count):
        next(batches)
    return row(cfg, workers, count * batch, time.perf_counter() - start)


def rate_in_training(settings, method, workers):
    """Train from files."""
    batch, count, warm_up = (8, 4, 2) if settings.small else (128, 32, 10)
    cfg = loader_config(settings, method, workers, batch)
    trainer = build_trainer(cfg)
    trainer.storage = EventStorage(0)
    times, waits = [], []
    with trainer.storage:
        trainer.before_train()
        for trainer.iter in range(warm_up + count):
            start = time.perf_counter()
            trainer.before_step()
            trainer.run_step()
            trainer.after_step()
            if settings.on_gpu:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
            waits.append(trainer.storage.history("data_time").latest())
            trainer.storage.step()
    total = sum(times[warm_up:])
    return row(cfg, workers, count * batch, total, sum(waits[warm_up:]) / total)


def row(cfg, workers, images, seconds, waiting=None):
    """Return the row of a measurement."""
    rate = images / seconds
    return {
        "ok": None,
        "images/s": rate,
        "views/s": rate * cfg.INPUT.VIEWS.NUM,
        "images/s and process": rate / workers,
        "share of time waiting": waiting,
    }
