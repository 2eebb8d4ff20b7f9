"""The pre-trainings of a comparison: one for each backbone that is given as a yaml, and each seed.

A pre-training has the folder PRETRAINING/BACKBONE/seedK; its detectors load backbone.pkl from it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from .comparison_record import RECORD, Training
from .run_settings import OWN_KEYS, WEIGHTS, read_pretraining_config, run_settings

FOLDER = "pretraining"


@dataclass
class Pretraining(Training):
    """One pre-training."""

    def __str__(self):
        return f"pre-training of {self.backbone}  seed {self.seed}"

    @property
    def weights(self):
        """The path of the backbone for MODEL.WEIGHTS."""
        return self.folder / "backbone.pkl"

    def is_done(self):
        """Return True if the weights are those after the last iteration."""
        # the name of the last checkpoint is written after backbone.pkl, and stays if the checkpoint
        # itself is deleted
        return self.weights.is_file() and self.last_checkpoint() == "model_final.pth"

    def summary(self):
        """Return what is printed of a training that is done."""
        return str(self.weights)


def plan_pretrainings(backbones, seeds, output, options=(), num_gpus=1):
    """Return {(name of the backbone, seed): :class:`Pretraining`}.

    Args:
        backbones: list of ``Backbone``; those with a yaml are pre-trained.
        seeds: list of numbers. output: folder of the comparison.
        options: list of keys and values for every pre-training. num_gpus: GPUs of each.

    Raises:
        ValueError: a yaml that cannot pre-train, or a key that the comparison sets.
    """
    own = [key for key in options[::2] if key in OWN_KEYS and key != WEIGHTS]
    if own:
        raise ValueError(f"--pretrain-opts: {own[0]} is set for each run by --seeds and --output.")
    plans = {}
    for backbone in backbones:
        if not backbone.is_yaml:
            continue
        cfg = read_pretraining_config(backbone.path, options, num_gpus)
        for seed in seeds:
            folder = Path(output) / FOLDER / backbone.name / f"seed{seed}"
            cfg.SEED, cfg.OUTPUT_DIR = seed, str(folder)
            plans[backbone.name, seed] = Pretraining(
                backbone.name, seed, folder, cfg.SOLVER.MAX_ITER, run_settings(cfg),
                os.fspath(backbone.path),
                (*options, "SEED", str(seed), "OUTPUT_DIR", str(folder)),
            )  # fmt: skip
    return plans


def find_pretrainings(output):
    """Return every pre-training with a RECORD, done or not."""
    found = [Pretraining.read(x.parent) for x in Path(output).glob(f"{FOLDER}/*/seed*/{RECORD}")]
    return sorted(found, key=lambda x: (x.backbone, x.seed))
