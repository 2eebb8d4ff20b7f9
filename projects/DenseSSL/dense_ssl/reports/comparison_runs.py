"""The runs of a comparison: every backbone through every protocol with every seed.

Each run has a folder, PROTOCOL/BACKBONE/seedK, and in it RECORD: what the run was asked to be.
"""

import json
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..checkpoint.files import atomic_file
from .run_results import final_evaluation
from .run_settings import OWN_KEYS, WEIGHTS, differences, read_config, run_settings

RECORD = "comparison_run.json"
# Names of backbone files that say nothing; their folder's name is taken instead.
_COMMON_NAMES = ("backbone", "model_final")


@dataclass(frozen=True)
class Backbone:
    """A row of the comparison: its name, and its weights ("" for random ones).

    ``{seed}`` in the path stands for the seed of the run: weights of several pre-trainings.
    """

    name: str
    path: str

    @classmethod
    def parse(cls, text):
        """Read "random", "PATH", "NAME=PATH" or "NAME=random"."""
        name, equals, path = text.partition("=")
        if not equals or os.path.isfile(_file(text)):
            path, file = text, Path(_file(text))
            name = file.parent.name if file.stem in _COMMON_NAMES else file.stem
        if not re.fullmatch(r"[\w.+-]+", name):
            raise ValueError(
                f"--backbones: {text!r} needs a name of letters, digits and '_.+-': NAME=PATH"
            )
        return cls(name, "" if path == "random" else path)

    def weights(self, seed):
        """MODEL.WEIGHTS for a seed."""
        return self.path.replace("{seed}", str(seed))


@dataclass
class Run:
    """One training of a protocol, and what its folder must say.

    Attributes:
        protocol, backbone: names. seed: SEED.
        config_file, options: for train_net.py.
        folder: OUTPUT_DIR.
        last_iteration: SOLVER.MAX_ITER.
        settings: result of ``run_settings``.
        per_seed: the backbone has weights of its own for each seed.
    """

    protocol: str
    backbone: str
    seed: int
    folder: Path
    last_iteration: int
    settings: dict
    per_seed: bool = False
    config_file: str = ""
    options: tuple = ()

    def __str__(self):
        return f"{self.protocol}  {self.backbone}  seed {self.seed}"

    def write(self):
        """Make the folder, and say in it what it is for."""
        self.folder.mkdir(parents=True, exist_ok=True)
        keys = ("protocol", "backbone", "seed", "per_seed", "last_iteration", "settings")
        text = json.dumps({key: getattr(self, key) for key in keys}, indent=1) + "\n"
        with atomic_file(self.folder / RECORD) as file:
            file.write(text.encode())

    @classmethod
    def read(cls, folder):
        """The run that a folder was made for, None if no comparison made it."""
        path = Path(folder) / RECORD
        if not path.is_file():
            return None
        return cls(folder=Path(folder), **json.loads(path.read_text(encoding="utf-8")))

    def results(self):
        """Result of :func:`~.run_results.final_evaluation`; None while the run is not done."""
        tasks = ["bbox"]
        tasks += ["segm"] if self.settings["MODEL.MASK_ON"] else []
        tasks += ["keypoints"] if self.settings["MODEL.KEYPOINT_ON"] else []
        return final_evaluation(
            self.folder, self.last_iteration, tasks, self.settings["DATASETS.TEST"]
        )

    def conflict(self):
        """Why this run cannot use its folder, "" if it can."""
        saved = Run.read(self.folder)
        if saved is not None:
            return "\n".join(f"    {x}" for x in differences(saved.settings, self.settings))
        # a process that was killed before it had written the record leaves at most its beginnings
        stem = Path(RECORD).stem
        if self.folder.is_dir() and any(
            not x.name.startswith(f"{stem}.") for x in self.folder.iterdir()
        ):
            return f"    has files, and no {RECORD} says of which run"
        return ""


def _file(weights):
    """The path in a MODEL.WEIGHTS that may have options, as in "x.pth?matching_heuristics=True"."""
    return weights.partition("?")[0]


def protocol_name(config_file):
    """'configs/finetune/COCO-Detection/x.yaml' -> 'COCO-Detection/x'."""
    path = Path(config_file).absolute()
    return f"{path.parent.name}/{path.stem}"


def plan_runs(backbones, config_files, seeds, output, options=(), num_gpus=1):
    """All runs of a comparison, whether they are done or not.

    Seeds change last, so that a comparison that is stopped has something of every cell.

    Args:
        backbones: list of :class:`Backbone`. config_files: yamls of the protocols.
        seeds: list of numbers. output: folder of the comparison.
        options: list of keys and values for every run. num_gpus: of a run.

    Returns:
        list of :class:`Run`.

    Raises:
        ValueError: something that was asked for cannot be run; FileNotFoundError: no such weights.
    """
    _check_unique("--backbones", [x.name for x in backbones])
    _check_unique("--seeds", seeds)
    _check_unique("--protocols", [protocol_name(x) for x in config_files])
    own = [key for key in options[::2] if key in OWN_KEYS]
    if own:
        raise ValueError(f"{own[0]} is set for each run by --backbones, --seeds and --output.")
    runs = []
    for seed in seeds:
        if seed < 0:
            raise ValueError(f"--seeds: {seed} would be drawn anew each time; give 0 or more.")
        for config_file in config_files:
            for backbone in backbones:
                runs.append(_plan(backbone, config_file, seed, Path(output), options, num_gpus))
    return runs


def _plan(backbone, config_file, seed, output, options, num_gpus):
    name = protocol_name(config_file)
    folder = output / name / backbone.name / f"seed{seed}"
    weights = backbone.weights(seed)
    if weights and "://" not in weights and not os.path.isfile(_file(weights)):
        raise FileNotFoundError(f"--backbones: {backbone.name} has no weights at {weights!r}")
    own = [WEIGHTS, weights, "SEED", str(seed), "OUTPUT_DIR", str(folder)]
    cfg = read_config(config_file, [*options, *own], num_gpus)
    return Run(
        protocol=name,
        backbone=backbone.name,
        seed=seed,
        folder=folder,
        last_iteration=cfg.SOLVER.MAX_ITER,
        settings=run_settings(cfg),
        per_seed=backbone.path != weights,
        config_file=os.fspath(config_file),
        options=(*options, *own),
    )


def _check_unique(flag, values):
    twice = [x for x, count in Counter(values).items() if count > 1]
    if twice:
        raise ValueError(f"{flag}: {twice[0]!r} is there twice; names must differ (NAME=PATH).")


def find_runs(output):
    """Every run of which a folder holds the record, done or not."""
    runs = [Run.read(x.parent) for x in sorted(Path(output).glob(f"*/*/*/seed*/{RECORD}"))]
    return sorted(runs, key=lambda x: (x.protocol, x.backbone, x.seed))


def check_comparable(runs):
    """Raise ValueError where runs of one table were made with different settings.

    Runs of a protocol may differ in seed and weights only, runs of a backbone not in their weights
    (but for those that have weights for each seed).
    """
    for run in runs:
        first = next(x for x in runs if x.protocol == run.protocol)
        _refuse(first, run, differences(first.settings, run.settings, (WEIGHTS, "SEED")))
        of_backbone = [x for x in runs if x.backbone == run.backbone]
        first = next(x for x in of_backbone if not run.per_seed or x.seed == run.seed)
        if first.settings[WEIGHTS] != run.settings[WEIGHTS]:
            _refuse(first, run, [f"{WEIGHTS}: another file of the same name {run.backbone!r}"])


def _refuse(first, run, lines):
    if lines:
        text = "\n".join(f"    {x}" for x in lines)
        raise ValueError(
            f"These two do not belong in one table:\n  {first}\n  {run}\n{text}\n"
            "Delete the folder of one of them, or choose by --backbones, --protocols and --seeds."
        )
