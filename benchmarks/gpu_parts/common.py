"""What the parts share: settings, configs, images, trainers on one batch."""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from helpers import METHODS, tiny_config
from steps import SyntheticTrainer
from views import photo_like

from dense_ssl.config import load_config
from dense_ssl.engine import Trainer
from dense_ssl.engine.setup import meta_architecture

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
COCO_IMAGES = 118_287
# Twenty layers of usual width, for --small: rounding grows with depth and with narrow layers.
SMALL_BACKBONE = ("MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64)


@dataclass
class Settings:
    """What the command line says.

    Attributes:
        device: "cuda" or "cpu".
        small: sizes for a minute of a CPU.
        output: folder of results, logs and runs.
        deadline: when the command must have ended, as ``time.time()``.
        data: folder with BCCD and NEU-DET.
        methods: META_ARCHITECTUREs.
        batches: numbers of images per batch whose speed is measured.
    """

    device: str
    small: bool
    output: Path
    deadline: float
    data: Path
    methods: tuple
    batches: tuple = (64,)

    @classmethod
    def of_cpu(cls, folder):
        """Those of scripts that need configs and batches alone, on a CPU."""
        return cls("cpu", False, Path(folder), float("inf"), Path(), ())

    @property
    def on_gpu(self):
        return self.device == "cuda"

    def seconds_left(self):
        return self.deadline - time.time()

    def scratch(self, name):
        """Return an empty folder."""
        folder = self.output / "runs" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


class FixedLoader:
    """An endless loader of one batch."""

    dataset = range(COCO_IMAGES)  # the trainer's log counts epochs

    def __init__(self, batch):
        self.batch = batch

    def __iter__(self):
        while True:
            yield self.batch


class FixedTrainer(SyntheticTrainer):
    """The trainer on the first batch of its own loader, kept on the device of the model."""

    def build_train_loader(self, cfg, seed):
        batch = next(iter(Trainer.build_train_loader(self, cfg, seed)))
        return FixedLoader(_moved(batch, cfg.MODEL.DEVICE))


def fixed_trainer(cfg):
    """Return a :class:`FixedTrainer`; its weights depend on the config alone."""
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    return FixedTrainer(cfg)


def photos(settings, count):
    """Return a folder with ``count`` photo-like JPEGs, 64 different ones at most."""
    folder = settings.output / "photos" / str(count)
    if not folder.is_dir():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        rng = np.random.default_rng(0)
        images = [_jpeg(rng, settings.small) for _ in range(min(count, 64))]
        for i in range(count):
            (partial / f"{i:05d}.jpg").write_bytes(images[i % len(images)])
        os.rename(partial, folder)
    return folder


def pretrain_config(settings, method, batch_size, *options):
    """Return the config of a method's ResNet-50 yaml, as setup() would resolve it for one process.

    With --small it is the tests' tiny config instead.
    """
    folder = photos(settings, batch_size)
    shared = ["MODEL.DEVICE", settings.device, "SOLVER.IMS_PER_BATCH", batch_size,
              "SOLVER.MAX_ITER", 100_000, "SOLVER.WARMUP_ITERS", 0,
              "SOLVER.CHECKPOINT_PERIOD", 1_000_000, "DATALOADER.NUM_WORKERS", 0,
              "MODEL.SSL.MIN_ANGLE", 0.0, "SEED", 0, "VIS_PERIOD", 0,
              *options]  # fmt: skip
    output = settings.scratch("trainer")
    if settings.small:
        return tiny_config(method, folder, output, *SMALL_BACKBONE, *shared)
    path = CONFIGS / "pretrain" / f"{METHODS[method].yaml}_R_50_coco.yaml"
    own = ["MODEL.RESNETS.NORM", "BN", "MODEL.SSL.HEAD_NORM", "BN",
           "MODEL.DISTILLATION.TEACHER.WEIGHTS", "random", "SOLVER.EPOCHS", 0,
           "SOLVER.WARMUP_EPOCHS", 0, "SOLVER.CHECKPOINT_EPOCHS", 0, "SOLVER.ACCUMULATE", 1,
           "MODEL.PLRC.WARMUP_EPOCHS", 0, "DATASETS.TRAIN", (f"folder:{folder}",),
           "OUTPUT_DIR", str(output)]  # fmt: skip
    cfg = load_config(str(path), [*own, *shared])
    meta_architecture(cfg).resolve(cfg, COCO_IMAGES)
    return cfg


def _jpeg(rng, small):
    height, width = (120, 160) if small else (375, 500)
    image = photo_like(rng, height, width)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()


def _moved(batch, device):
    if isinstance(batch, torch.Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: _moved(x, device) for key, x in batch.items()}
    if isinstance(batch, list):
        return [_moved(x, device) for x in batch]
    return batch
