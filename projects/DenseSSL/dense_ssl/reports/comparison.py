"""Statistics of a comparison: backbones by metrics of protocols, over seeds."""

import fnmatch
import math
import statistics
from dataclasses import dataclass, field

# The metrics of the papers, in the order of their columns; others are shown on request.
METRICS = (
    "bbox/AP",
    "bbox/AP50",
    "bbox/AP75",
    "segm/AP",
    "segm/AP50",
    "segm/AP75",
    "keypoints/AP",
    "keypoints/AP50",
    "keypoints/AP75",
    "sem_seg/mIoU",
)


@dataclass
class Cell:
    """One backbone in one metric of one protocol.

    Attributes:
        values: {seed: value}, without NaN.
        mean: of the values; NaN without any. sd: sample standard deviation (divided by n - 1); None
            below two values.
        difference, difference_sd: mean and standard deviation, over the seeds that both have, of
            the difference to the reference with the same seed; None without such a seed, or two.
    """

    values: dict
    mean: float = math.nan
    sd: float = None
    difference: float = None
    difference_sd: float = None

    @property
    def n(self):
        """How many seeds have a value."""
        return len(self.values)


@dataclass
class Comparison:
    """The whole table.

    Attributes:
        backbones: names of the rows; the first is the reference.
        columns: list of (protocol, metric).
        seeds: all seeds of the runs.
        cells: {(backbone, protocol, metric): :class:`Cell`}, for every row and column.
        notes: what a reader of the table must know.
    """

    backbones: list
    columns: list
    seeds: list
    cells: dict
    notes: list = field(default_factory=list)

    @property
    def protocols(self):
        """Names of the protocols, in the order of the columns."""
        return list(dict.fromkeys(protocol for protocol, _ in self.columns))

    def best(self, column, decimals):
        """Names of the rows with the highest mean of a column, as it is printed."""
        means = {x: round(self.cells[(x, *column)].mean, decimals) for x in self.backbones}
        means = {x: mean for x, mean in means.items() if not math.isnan(mean)}
        return {x for x in means if len(means) > 1 and means[x] == max(means.values())}


def compare(runs, metrics=()):
    """Collect what runs scored.

    Args:
        runs: list of :class:`~.comparison_runs.Run`, in the order of the rows and columns.
        metrics: names to show, or patterns such as "segm/*"; default: those of :data:`METRICS`
            that there are.

    Returns:
        :class:`Comparison`. Its notes name runs that are not done, and metrics that no run has.
    """
    backbones = list(dict.fromkeys(x.backbone for x in runs))
    protocols = list(dict.fromkeys(x.protocol for x in runs))
    seeds = sorted({x.seed for x in runs})
    scores, notes = {}, []
    for run in runs:
        found = run.results()
        if found is None:
            notes.append(f"not done: {run}")
            continue
        scores[run.protocol, run.backbone, run.seed], zeros = found
        if zeros:
            notes.append(f"nothing found, counted as 0: {run}")
    columns = [(p, m) for p in protocols for m in _choose(_names(scores, p), metrics)]
    for pattern in metrics:
        if scores and not any(_fits(metric, pattern) for _, metric in columns):
            names = sorted({name for x in scores.values() for name in x})
            notes.append(f"no run has {pattern!r}; there are {', '.join(names)}")
    cells = {}
    for column in columns:
        values = {x: _values(scores, column, x, seeds, notes) for x in backbones}
        for name in backbones:
            reference = values[backbones[0]] if name != backbones[0] else {}
            cells[(name, *column)] = summarise(values[name], reference)
    return Comparison(backbones, columns, seeds, cells, notes)


def summarise(values, reference):
    """The cell of values.

    Args:
        values, reference: {seed: value} of a backbone, and of the first one ({} for itself).
    """
    cell = Cell(values)
    if values:
        cell.mean = statistics.fmean(values.values())
        cell.sd = _sd(values.values())
    changes = [x - reference[seed] for seed, x in values.items() if seed in reference]
    if changes:
        cell.difference, cell.difference_sd = statistics.fmean(changes), _sd(changes)
    return cell


def _sd(values):
    return statistics.stdev(values) if len(values) > 1 else None


def _values(scores, column, backbone, seeds, notes):
    """{seed: value} of a cell; NaN is left out, and noted."""
    protocol, metric = column
    values = {}
    for seed in seeds:
        value = scores.get((protocol, backbone, seed), {}).get(metric)
        if value is not None and math.isnan(value):
            notes.append(f"{metric} is NaN, left out: {protocol}  {backbone}  seed {seed}")
        elif value is not None:
            values[seed] = value
    return values


def _names(scores, protocol):
    """The metrics that runs of a protocol have, in the order in which they came."""
    of_protocol = [x for key, x in scores.items() if key[0] == protocol]
    return list(dict.fromkeys(name for x in of_protocol for name in x))


def _choose(names, patterns):
    """The names that a pattern fits, in the order of the patterns; all if no default one does."""
    chosen = []
    for pattern in patterns or METRICS:
        chosen += [x for x in names if _fits(x, pattern) and x not in chosen]
    return chosen if chosen or patterns else names


def _fits(name, pattern):
    # with several test sets the set's name stands before the metric's: coco_2017_val/bbox/AP
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"*/{pattern}")
