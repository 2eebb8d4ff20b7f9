"""Statistics of a comparison: backbones by metrics of protocols, over seeds."""

import fnmatch
from dataclasses import dataclass, field

try:
    import pandas as pd
except ImportError as error:
    raise ImportError(
        "Comparison tables need pandas: pip install 'pandas>=2.2', or install dense-ssl[compare]."
    ) from error

# The metrics of the papers, in the order of their columns; others are shown on request.
METRICS = (
    "bbox/AP", "bbox/AP50", "bbox/AP75", "segm/AP", "segm/AP50", "segm/AP75",
    "keypoints/AP", "keypoints/AP50", "keypoints/AP75", "sem_seg/mIoU",
)  # fmt: skip
KEYS = ["protocol", "metric", "backbone"]


@dataclass
class Comparison:
    """The whole table.

    Attributes:
        backbones: names of the rows; the first is the reference.
        scores: DataFrame with a row per seed and a column per KEYS; NaN where there is no value.
        cells: result of :func:`summarise`.
        notes: texts that a reader of the table must know.
    """

    backbones: list
    scores: pd.DataFrame
    cells: pd.DataFrame
    notes: list = field(default_factory=list)

    @property
    def columns(self):
        """List of (protocol, metric)."""
        return list(dict.fromkeys((protocol, metric) for protocol, metric, _ in self.scores))

    @property
    def protocols(self):
        """Names of the protocols, in the order of the columns."""
        return list(self.scores.columns.unique("protocol"))


def compare(runs, metrics=()):
    """Collect the results of runs.

    Args:
        runs: list of :class:`~.comparison_runs.Run`, in the order of the rows and columns.
        metrics: names to show, or patterns such as "segm/*"; default: METRICS, where available.

    Returns:
        :class:`Comparison`. Its notes name runs that are not done, and metrics that no run has.
    """
    backbones = list(dict.fromkeys(x.backbone for x in runs))
    values, notes = _collect(runs)
    columns = [
        (protocol, metric)
        for protocol, names in values.groupby("protocol", sort=False)["metric"]
        for metric in _choose(list(names.unique()), metrics)
    ]
    for pattern in metrics:
        if len(values) and not any(_fits(metric, pattern) for _, metric in columns):
            known = ", ".join(sorted(values["metric"].unique()))
            notes.append(f"no run has {pattern!r}; there are {known}")
    for row in values[values["value"].isna()].itertuples():
        if (row.protocol, row.metric) in columns:
            notes.append(f"{row.metric} is NaN, left out: {row.run}")
    keys = [(*column, backbone) for column in columns for backbone in backbones]
    scores = values.pivot(index="seed", columns=KEYS, values="value").reindex(
        index=sorted({x.seed for x in runs}), columns=pd.MultiIndex.from_tuples(keys, names=KEYS)
    )
    return Comparison(backbones, scores, summarise(scores, backbones[0]), notes)


def summarise(scores, reference):
    """Return the statistics over the seeds.

    Args:
        scores: see :class:`Comparison`. reference: name of the backbone to compare with.

    Returns:
        DataFrame with a row per KEYS: "n" (seeds with a value), "mean", "sd" (sample standard
        deviation: divided by n - 1), and "difference" and "difference_sd", the same of the
        difference to the reference with the same seed. NaN where there are too few seeds.
    """
    base = scores[[(protocol, metric, reference) for protocol, metric, _ in scores]].to_numpy()
    changes = (scores - base).loc[:, scores.columns.get_level_values("backbone") != reference]
    cells = {
        "n": scores.count(),
        "mean": scores.mean(),
        "sd": scores.std(),
        "difference": changes.mean(),
        "difference_sd": changes.std(),
    }
    return pd.DataFrame(cells, index=scores.columns)


def best_cells(cells, decimals):
    """Return True for each cell with the highest of several means of its column, as printed."""
    means = cells["mean"].round(decimals)
    columns = means.groupby(level=["protocol", "metric"])
    return (means == columns.transform("max")) & (columns.transform("count") > 1)


def _collect(runs):
    """Return a DataFrame with a row per metric and run, and notes on the runs."""
    rows, notes = [], []
    for run in runs:
        results = run.results()
        if results is None:
            notes.append(f"not done: {run}")
            continue
        metrics, zeros = results
        if zeros:
            notes.append(f"nothing found, counted as 0: {run}")
        rows += [(run.protocol, x, run.backbone, run.seed, run, y) for x, y in metrics.items()]
    return pd.DataFrame(rows, columns=[*KEYS, "seed", "run", "value"]), notes


def _choose(names, patterns):
    """Return the names that match, in the order of the patterns; all if no default matches."""
    matches = [x for pattern in patterns or METRICS for x in names if _fits(x, pattern)]
    return list(dict.fromkeys(matches)) if matches or patterns else names


def _fits(name, pattern):
    # with several test sets, the name of the set comes first: coco_2017_val/bbox/AP
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"*/{pattern}")
