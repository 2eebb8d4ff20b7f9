"""The charts of runs: metrics grouped by what they tell, each run over the others."""

import math
from dataclasses import dataclass
from typing import Callable

import numpy as np

from .model import Curve, Group, Panel
from .scores import is_headline
from .tables import without_common_folder

MOST_RUNS = 12  # with curves of their own; beyond it nobody tells them apart
_POINTS = 2400  # of a metric, over all runs
_FEWEST_POINTS = 300

# eta_seconds is in fine-tuning alone; the chart of the remaining time is of every run
_HIDDEN = {"iteration", "eta_seconds"}


def groups(runs):
    """Return the groups of charts, for pre-trainings and for detectors."""
    result = []
    for is_pretraining, title in ((True, "Pre-training"), (False, "Detectors")):
        chosen = [x for x in runs if x.is_pretraining == is_pretraining and x.metrics]
        shown = chosen[:MOST_RUNS]
        if shown:
            panels, more = _panels(list(enumerate(shown)))
            note = f"The first {len(shown)} of {len(chosen)} runs." * (len(shown) < len(chosen))
            result.append(Group(title, [x.name for x in shown], panels, more, note))
    return result


@dataclass(frozen=True)
class Kind:
    """Metrics that one chart shows.

    Attributes:
        title, note: of the chart. belongs: function of a name.
        chief: the metric that is enough where several runs share the chart; the others then have
            charts of their own, among those that are closed at first.
        split: several runs have a chart for each metric.
    """

    title: str
    note: str
    belongs: Callable
    chief: str = ""
    split: bool = False


# A metric is in the first kind that takes it.
_KINDS = (
    Kind("Loss", "Falls, then levels off. Its size says little between methods.",
         lambda x: "loss" in x and "/" not in x, chief="total_loss"),
    Kind("Probe", "Class accuracy with a frozen copy of the backbone, in percent.",
         lambda x: x.startswith("probe/") and x.endswith(("linear", "knn", "accuracy")),
         split=True),
    Kind("Evaluation", "Scores on the test images, in percent.", is_headline, split=True),
    Kind("Spread of the features", "Near 1 is the most there is; 0 is collapse.",
         lambda x: x.endswith("_std")),
    Kind("Share found", "How often the right partner or class is found.",
         lambda x: x.endswith(("/top1", "/chance", "/arrived", "accuracy")), split=True),
    Kind("Angle of the backbone from its start", "Degrees. Near 0: hardly trained.",
         lambda x: x.endswith(("/angle", "_angle")), chief="backbone/angle"),
    Kind("Learning rate", "", lambda x: x == "lr"),
    Kind("Momentum of the target", "", lambda x: x == "momentum"),
    Kind("Seconds per step", "data_time is what the step waits for images.",
         lambda x: x in ("time", "data_time"), chief="time"),
)  # fmt: skip


def _panels(runs):
    """Return (panels that matter most, panels of the other metrics by their prefix)."""
    names = list(dict.fromkeys(name for _, run in runs for name in sorted(run.metrics)))
    names = [x for x in names if x not in _HIDDEN]
    panels, more = [], []
    for kind in _KINDS:
        taken = [x for x in names if kind.belongs(x)]
        names = [x for x in names if x not in taken]
        first, second = _panels_of(kind, runs, taken)
        panels += first
        more += second
    panels.append(_remaining(runs))
    for family in dict.fromkeys(map(_family, names)):
        taken = [x for x in names if _family(x) == family]
        more.append(Panel(family, "", _curves(runs, taken)))
    return [x for x in panels if x.curves], [x for x in more if x.curves]


def _panels_of(kind, runs, names):
    """Return the panels of a kind, and those that are closed at first."""
    if kind.belongs is is_headline:  # one evaluation, at the end, is in the tables
        names = [x for x in names if any(len(r.metrics.get(x, ((),))[0]) > 1 for _, r in runs)]
    if len(runs) == 1:
        return [Panel(kind.title, kind.note, _curves(runs, _without_copy(names)))], []
    each = [Panel(f"{kind.title}: {x}", kind.note, _curves(runs, [x])) for x in names]
    if kind.split:
        return each, []
    if kind.chief in names:
        chief = Panel(kind.title, kind.note, _curves(runs, [kind.chief]))
        return [chief], [x for x, name in zip(each, names) if name != kind.chief]
    return [Panel(kind.title, kind.note, _curves(runs, names))], []


def _without_copy(names):
    """Leave total_loss out where there is one other loss, which it equals."""
    return [x for x in names if x != "total_loss" or len(names) != 2]


def _family(name):
    """Return what metrics of one scale share: "backbone … norm" of backbone/body_norm."""
    prefix, _, rest = name.rpartition("/")
    return " … ".join(x for x in (prefix.partition("/")[0], rest.rpartition("_")[2]) if x)


def _curves(runs, names):
    points = max(_POINTS // len(runs), _FEWEST_POINTS)
    result = []
    for k, run in runs:
        for name, short in zip(names, without_common_folder(names)):
            if name in run.metrics:
                label = run.name if len(names) == 1 else f"{run.name} · {name}"
                label = short if len(runs) == 1 else label
                result.append(Curve(k, name, label, *thin(*run.metrics[name], points)))
    return result


def _remaining(runs):
    """Return the ETA at each report: the steps that were left, at the speed of then."""
    left = {}
    for k, run in runs:
        iterations, seconds = run.metrics.get("time", ((), ()))
        values = [(run.length - x - 1) * y for x, y in zip(iterations, seconds)]
        if values and run.length:
            left[k] = iterations, values
    longest = max((max(values) for _, values in left.values()), default=0)
    unit, seconds = ("Hours", 3600) if longest > 7200 else ("Minutes", 60)
    curves = [
        Curve(k, "eta", runs[k][1].name, *thin(x, [y / seconds for y in values], _FEWEST_POINTS))
        for k, (x, values) in left.items()
    ]
    note = f"{unit}: the steps that were left, at the speed of then."
    return Panel("Time remaining", note, curves)


def thin(x, y, points):
    """Return (x, y) with at most ``points`` of the points, the extremes of each stretch.

    Values are rounded to six digits; None stands for what is not finite.
    """
    if len(x) > points:
        values = np.asarray(y, dtype=float)
        kept = {0, len(x) - 1}
        for part in np.array_split(np.arange(len(x)), points // 2):
            finite = part[np.isfinite(values[part])]
            if len(finite):
                kept |= {finite[values[finite].argmin()], finite[values[finite].argmax()]}
        x, y = zip(*((x[i], y[i]) for i in sorted(kept)))
    return list(x), [float(f"{v:.6g}") if math.isfinite(v) else None for v in y]
