"""The runs of a comparison: each backbone with each protocol and each seed.

A run has a folder, PROTOCOL/BACKBONE/seedK. The file RECORD in it holds the settings of the run.
"""

import itertools
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..checkpoint.files import atomic_file
from .run_results import final_evaluation
from .run_settings import OWN_KEYS, WEIGHTS, differences, read_config, run_settings

RECORD = "comparison_run.json"
# Usual names of weights files; the name of their folder says more.
_COMMON_NAMES = ("backbone", "model_final")


@dataclass(frozen=True)
class Backbone:
    """A row of the comparison: its name, and its weights ("" for random ones).

    ``{seed}`` in the path is replaced by the seed of the run, for several pre-trainings.
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
        """Return MODEL.WEIGHTS for a seed."""
        path = self.path.replace("{seed}", str(seed))
        if path and "://" not in path and not os.path.isfile(_file(path)):
            raise FileNotFoundError(f"--backbones: {self.name} has no weights at {path!r}")
        return path


@dataclass
class Run:
    """One training of a protocol.

    Attributes:
        protocol, backbone: names. seed: SEED.
        folder: OUTPUT_DIR.
        last_iteration: SOLVER.MAX_ITER.
        settings: result of ``run_settings``.
        per_seed: the backbone has other weights for each seed.
        config_file, options: for train_net.py.
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
        """Make the folder and write RECORD."""
        self.folder.mkdir(parents=True, exist_ok=True)
        keys = ("protocol", "backbone", "seed", "per_seed", "last_iteration", "settings")
        text = json.dumps({key: getattr(self, key) for key in keys}, indent=1) + "\n"
        with atomic_file(self.folder / RECORD) as file:
            file.write(text.encode())

    @classmethod
    def read(cls, folder):
        """Return the run of a folder, None without RECORD."""
        path = Path(folder) / RECORD
        if not path.is_file():
            return None
        return cls(folder=Path(folder), **json.loads(path.read_text(encoding="utf-8")))

    def results(self):
        """Return the result of :func:`~.run_results.final_evaluation`; None if it is not done."""
        tasks = ["bbox"]
        tasks += ["segm"] if self.settings["MODEL.MASK_ON"] else []
        tasks += ["keypoints"] if self.settings["MODEL.KEYPOINT_ON"] else []
        test_sets = self.settings["DATASETS.TEST"]
        return final_evaluation(self.folder, self.last_iteration, tasks, test_sets)

    def conflict(self):
        """Return why the run cannot use its folder, "" if it can."""
        saved = Run.read(self.folder)
        if saved is not None:
            return "\n".join(f"    {x}" for x in differences(saved.settings, self.settings))
        # RECORD is written first: a process killed before that leaves a lock or a temporary file
        files = self.folder.iterdir() if self.folder.is_dir() else ()
        if any(not x.name.startswith(f"{Path(RECORD).stem}.") for x in files):
            return f"    it has files, but no {RECORD}"
        return ""


def _file(weights):
    """Return the path in MODEL.WEIGHTS, without options as in "x.pth?matching_heuristics=True"."""
    return weights.partition("?")[0]


def protocol_name(config_file):
    """'configs/finetune/COCO-Detection/x.yaml' -> 'COCO-Detection/x'."""
    path = Path(config_file).absolute()
    return f"{path.parent.name}/{path.stem}"


def plan_runs(backbones, config_files, seeds, output, options=(), num_gpus=1):
    """Return all runs of a comparison, done or not.

    Seeds change last, so that a comparison that is stopped has results for every cell.

    Args:
        backbones: list of :class:`Backbone`. config_files: yamls of the protocols.
        seeds: list of numbers. output: folder of the comparison.
        options: list of keys and values for every run. num_gpus: GPUs of a run.

    Returns:
        list of :class:`Run`.

    Raises:
        ValueError: a run that is not possible; FileNotFoundError: no such weights.
    """
    _check_unique("--backbones NAME=PATH", [x.name for x in backbones])
    _check_unique("--seeds", seeds)
    _check_unique("--protocols", [protocol_name(x) for x in config_files])
    if min(seeds) < 0:
        raise ValueError(f"--seeds: {min(seeds)} would be a new random seed; give 0 or more.")
    own = [key for key in options[::2] if key in OWN_KEYS]
    if own:
        raise ValueError(f"{own[0]} is set for each run by --backbones, --seeds and --output.")
    runs = []
    for seed, config_file, backbone in itertools.product(seeds, config_files, backbones):
        name, weights = protocol_name(config_file), backbone.weights(seed)
        folder = Path(output) / name / backbone.name / f"seed{seed}"
        words = (*options, WEIGHTS, weights, "SEED", str(seed), "OUTPUT_DIR", str(folder))
        cfg = read_config(config_file, words, num_gpus)
        run = Run(name, backbone.name, seed, folder, cfg.SOLVER.MAX_ITER, run_settings(cfg))
        run.per_seed = backbone.path != weights
        run.config_file, run.options = os.fspath(config_file), words
        runs.append(run)
    return runs


def _check_unique(flag, values):
    twice = [x for i, x in enumerate(values) if x in values[:i]]
    if twice:
        raise ValueError(f"{flag}: {twice[0]!r} is there twice.")


def find_runs(output):
    """Return every run with a RECORD, done or not."""
    runs = [Run.read(x.parent) for x in Path(output).glob(f"*/*/*/seed*/{RECORD}")]
    _check_unique(output, [str(x) for x in runs])
    return sorted(runs, key=lambda x: (x.protocol, x.backbone, x.seed))


def check_comparable(runs):
    """Raise ValueError if runs of one table have different settings.

    Runs of a protocol may differ in seed and weights only. Runs of a backbone have the same
    weights, or the same for each seed.
    """
    for run in runs:
        first = next(x for x in runs if x.protocol == run.protocol)
        lines = differences(first.settings, run.settings, (WEIGHTS, "SEED"))
        if not lines:
            same = [x for x in runs if x.backbone == run.backbone]
            first = next(x for x in same if not run.per_seed or x.seed == run.seed)
            if first.settings[WEIGHTS] != run.settings[WEIGHTS]:
                lines = [f"{WEIGHTS}: different files with the name {run.backbone!r}"]
        if lines:
            text = "\n".join(f"    {x}" for x in lines)
            raise ValueError(
                f"These two runs do not belong in one table:\n  {first}\n  {run}\n{text}\n"
                "Delete the folder of one, or choose by --backbones, --protocols and --seeds."
            )
