"""The runs of a comparison: each backbone with each protocol and each seed.

A run has a folder, PROTOCOL/BACKBONE/seedK. The file RECORD in it holds the settings of the run.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import yaml

from .comparison_pretraining import Pretraining
from .comparison_record import RECORD, Training
from .run_results import final_evaluation
from .run_settings import WEIGHTS, differences, fingerprint

_NOT_YET = "not pre-trained yet"
_SHOWN = ("/AP", "/mIoU", "probe/class_accuracy", "probe/knn", "roi/top1_accuracy")
PROBE = "PROBE"  # in the settings of a run: the feature map that is probed
# The name of a protocol with one key changed: camvid/whole@SOLVER.BASE_LR=0.02
_VARIANT = re.compile(r"(?P<base>.+)@(?P<key>[A-Z][\w.]*)=(?P<value>.+)")


@dataclass(frozen=True)
class Protocol:
    """A yaml of fine-tuning, with keys of its own if it is a variant of another one.

    With a feature map to probe, only its data and its backbone are used.
    """

    config_file: str
    options: tuple = ()
    probe: str = ""

    @property
    def name(self):
        """Such as camvid/whole, camvid/whole@SOLVER.BASE_LR=0.02 or BCCD/probe."""
        if self.probe:
            return f"{Path(protocol_name(self.config_file)).parent}/probe"
        return "@".join((protocol_name(self.config_file), *filter(None, ["=".join(self.options)])))


@dataclass
class Run(Training):
    """One training of a protocol.

    Attributes:
        protocol: name.
        per_seed: the backbone has other weights for each seed.
        pretraining: the :class:`~.comparison_pretraining.Pretraining` that it waits for.
    """

    protocol: str = ""
    per_seed: bool = False
    pretraining: Optional[Pretraining] = None

    recorded = ("protocol", *Training.recorded, "per_seed")

    def __str__(self):
        return f"{self.protocol}  {self.backbone}  seed {self.seed}"

    def take_weights(self):
        """Put the fingerprint of a backbone that the comparison pre-trains into the settings."""
        if self.pretraining:
            done = self.pretraining.is_done()
            self.settings[WEIGHTS] = (
                fingerprint(str(self.pretraining.weights)) if done else _NOT_YET
            )

    def conflict(self):
        self.take_weights()
        return super().conflict()

    def results(self):
        """Return the result of :func:`~.run_results.final_evaluation`; None if it is not done."""
        tasks = ["bbox"]
        tasks += ["segm"] if self.settings["MODEL.MASK_ON"] else []
        tasks += ["keypoints"] if self.settings["MODEL.KEYPOINT_ON"] else []
        test_sets = self.settings["DATASETS.TEST"]
        return final_evaluation(self.folder, self._last_iteration(), tasks, test_sets)

    def _last_iteration(self):
        """SOLVER.MAX_ITER of the run; None if it has ended, perhaps before it."""
        stopped_early = self.settings.get("TEST.PATIENCE", 0) > 0
        if stopped_early and self.last_checkpoint() == "model_final.pth":
            return None
        config = self.folder / "config.yaml"
        if self.settings.get("SOLVER.EPOCHS", 0) > 0 and config.is_file():
            # known only to the run, which has counted its images
            return yaml.safe_load(config.read_text(encoding="utf-8"))["SOLVER"]["MAX_ITER"]
        return self.last_iteration

    def is_done(self):
        """Return True if there is a final evaluation."""
        return self.results() is not None

    def summary(self):
        """Return what is printed of a run that is done."""
        metrics, _ = self.results()
        shown = (f"{k} {v:.2f}" for k, v in metrics.items() if k.endswith(_SHOWN))
        return ", ".join(shown)

    @property
    def probe(self):
        """The feature map of a run of the RoI probe, "" if it is a training."""
        return self.settings.get(PROBE, "")

    @property
    def length(self):
        return f"probe of {self.probe}" if self.probe else super().length

    @property
    def variant(self):
        """(name of the base protocol, key, value as text); None if it is no variant."""
        found = _VARIANT.fullmatch(self.protocol)
        return found and found.groups()


def protocol_name(config_file):
    """'configs/finetune/COCO-Detection/x.yaml' -> 'COCO-Detection/x'."""
    path = Path(config_file).absolute()
    return f"{path.parent.name}/{path.stem}"


def check_unique(flag, values):
    """Raise ValueError, which names ``flag``, if a value is there twice."""
    twice = [x for i, x in enumerate(values) if x in values[:i]]
    if twice:
        raise ValueError(f"{flag}: {twice[0]!r} is there twice.")


def find_runs(output):
    """Return every run with a RECORD, done or not."""
    runs = [Run.read(x.parent) for x in Path(output).glob(f"*/*/*/seed*/{RECORD}")]
    check_unique(output, [str(x) for x in runs])
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
