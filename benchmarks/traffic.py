"""Bytes that each of two processes gives to collective operations in a step, by what they are for.

Network, heads and views are those of the paper's recipe on COCO. What the network then moves
depends on the algorithm: about twice the gradients, whatever the number of processes; what is
gathered goes to every process. Queues and shuffles grow with the images of a process, batch norms
and gradients do not.

    python benchmarks/traffic.py
    python benchmarks/traffic.py --methods BYOL DUPR --images 4
"""

import argparse
import functools
import json
import logging
import os
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import torch.distributed as dist
from detectron2.engine import HookBase
from detectron2.utils import comm

from dense_ssl import engine
from dense_ssl.config.machine import resolve_norms

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the paper's yaml of each method

# What a call is for, by the file that makes it.
PURPOSES = {
    "norm_statistics": "batch norms", "memory_bank": "queues", "passes": "shuffle",
    "interrupts": "signals", "step_numbers": "log",
}  # fmt: skip
# The argument that a process gives.
GIVEN = {"all_reduce": 0, "broadcast": 0, "reduce": 0, "all_gather": 1, "all_gather_into_tensor": 1,
         "reduce_scatter": 1, "all_to_all": 1, "all_to_all_single": 1}  # fmt: skip
FIRST, LAST = 1, 2  # steps that are counted: none that reads numbers or writes a checkpoint
STEPS = 4


def main():
    from helpers import METHODS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=[x for x in METHODS if x != "Distillation"])
    parser.add_argument("--images", type=int, default=2, help="of each process")
    parser.add_argument("--depth", type=int, default=50, help="of the ResNet")
    arguments = parser.parse_args()
    for method in arguments.methods:
        with tempfile.TemporaryDirectory() as folder:
            launched = argparse.Namespace(
                num_gpus=2, num_machines=1, machine_rank=0, dist_url="auto", folder=folder,
                method=method, yaml=METHODS[method].yaml, images=arguments.images,
                depth=arguments.depth,
            )  # fmt: skip
            write_images(Path(folder, "images"))
            engine.launch(measure, launched)
            print(Path(folder, "row.json").read_text(), flush=True)


def write_images(folder):
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(16):
        cv2.imwrite(str(folder / f"{i}.png"), rng.integers(0, 256, (96, 96, 3), dtype=np.uint8))


def measure(arguments):
    """Train in one of the processes; the first one writes what it gives in a step."""
    from helpers import build_trainer, load_config

    cfg = load_config(ROOT / "configs" / "pretrain" / f"{arguments.yaml}_R_50_coco.yaml")
    cfg.merge_from_list([
        "DATASETS.TRAIN", (f"folder:{arguments.folder}/images",), "MODEL.RESNETS.DEPTH",
        arguments.depth, *(["MODEL.RESNETS.RES2_OUT_CHANNELS", 64] if arguments.depth < 50 else []),
        "OUTPUT_DIR", os.path.join(arguments.folder, "out"),
        "DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 2 * arguments.images,
        "SOLVER.ACCUMULATE", 1, "SOLVER.EPOCHS", 0, "SOLVER.WARMUP_EPOCHS", 0,
        "SOLVER.WARMUP_ITERS", 1, "SOLVER.MAX_ITER", STEPS, "SOLVER.CHECKPOINT_PERIOD", 100,
        "SOLVER.AMP.ENABLED", False, "VIS_PERIOD", 0, "SEED", 1, "GUARDS.MEMORY", 0.0,
    ])  # fmt: skip
    resolve_norms(cfg, logging.getLogger())
    trainer, count = build_trainer(cfg), Count()
    trainer.register_hooks([count])
    trainer.train()
    if comm.is_main_process():
        gradients = sum(x.numel() * x.element_size() for x in trainer.model.parameters()
                        if x.requires_grad)  # fmt: skip
        found = {"gradients": gradients, **count.bytes}
        row = {k: round(x / 1e6, 3) for k, x in found.items()}
        text = json.dumps({"method": arguments.method, "MB": row})
        Path(arguments.folder, "row.json").write_text(text)


class Count(HookBase):
    """Counts the bytes of a step that this process gives to collective operations."""

    def __init__(self):
        self.bytes, self._is_on = Counter(), False
        for name, index in GIVEN.items():
            for module in (dist, dist.distributed_c10d):
                setattr(module, name, self._counted(getattr(module, name), index))

    def before_step(self):
        self._is_on = FIRST <= self.trainer.iter <= LAST

    def after_step(self):
        if self.trainer.iter == LAST:
            self._is_on = False
            for key in self.bytes:
                self.bytes[key] /= LAST + 1 - FIRST

    def _counted(self, function, index):
        @functools.wraps(function)
        def call(*args, **kwargs):
            if self._is_on:
                given = args[index] if isinstance(args[index], (list, tuple)) else [args[index]]
                self.bytes[purpose()] += sum(x.numel() * x.element_size() for x in given)
            return function(*args, **kwargs)

        return call


def purpose():
    """Return what the call is for that is being made."""
    for frame in traceback.extract_stack()[::-1]:
        path = Path(frame.filename)
        if path.stem in PURPOSES:
            return PURPOSES[path.stem]
        if "fvcore" in path.parts:  # the backward pass of batch norms
            return PURPOSES["norm_statistics"]
    return "losses"


if __name__ == "__main__":
    main()
