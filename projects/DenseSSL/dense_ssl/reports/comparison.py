"""Statistics of a comparison: backbones by metrics of protocols, over seeds."""

import fnmatch
from dataclasses import dataclass, field

try:
    import pandas as pd
    from scipy.stats import t as student_t
except ImportError as error:
    raise ImportError(
        "Comparison tables need pandas and scipy: pip install 'pandas>=2.2' scipy, or install "
        "dense-ssl[compare]."
    ) from error

# The metrics of the papers, in the order of their columns; others are shown on request.
METRICS = (
    "bbox/AP", "bbox/AP50", "bbox/AP75", "segm/AP", "segm/AP50", "segm/AP75",
    "keypoints/AP", "keypoints/AP50", "keypoints/AP75", "sem_seg/mIoU", "probe/class_accuracy",
    "probe/knn", "roi/top1_accuracy", "roi/class_accuracy",
)  # fmt: skip
KEYS = ["protocol", "metric", "backbone"]
CONFIDENCE = 0.95


@dataclass
class Comparison:
    """The whole table.

    Attributes:
        backbones: names of the rows. references: those that the others are compared with.
        scores: DataFrame with a row per seed and a column per KEYS; NaN where there is no value.
        cells: :func:`summarise` of the scores.
        differences: {reference: :func:`summarise` of the differences to it}.
        notes: texts that a reader of the table must know.
    """

    backbones: list
    references: list
    scores: pd.DataFrame
    cells: pd.DataFrame
    differences: dict
    notes: list = field(default_factory=list)

    @property
    def columns(self):
        """List of (protocol, metric)."""
        return list(dict.fromkeys((protocol, metric) for protocol, metric, _ in self.scores))

    @property
    def protocols(self):
        """Names of the protocols, in the order of the columns."""
        return list(self.scores.columns.unique("protocol"))


def compare(runs, metrics=(), references=()):
    """Collect the results of runs.

    Args:
        runs: list of :class:`~.comparison_runs.Run`, in the order of the rows and columns.
        metrics: names to show, or patterns such as "segm/*"; default: METRICS, where available.
        references: backbones that all others are compared with; default: the first one.

    Returns:
        :class:`Comparison`. Its notes name runs that are not done, and metrics that no run has.
    """
    backbones = list(dict.fromkeys(x.backbone for x in runs))
    references = list(references) or backbones[:1]
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
    differences = {x: summarise(differences_to(scores, x)) for x in references}
    return Comparison(backbones, references, scores, summarise(scores), differences, notes)


def differences_to(scores, reference):
    """Return the differences to a backbone with the same seed, without a column of its own.

    Args:
        scores: see :class:`Comparison`. reference: name of the backbone.
    """
    base = scores[[(protocol, metric, reference) for protocol, metric, _ in scores]].to_numpy()
    others = scores.columns.get_level_values("backbone") != reference
    return (scores - base).loc[:, others]


def summarise(scores):
    """Return the statistics over the seeds.

    Args:
        scores: DataFrame with a row per seed.

    Returns:
        DataFrame with a row per column of ``scores``: "n" (seeds with a value), "mean", "sd"
        (sample standard deviation: divided by n - 1), and "low" and "high", the ends of the
        interval of the mean by Student's t. NaN where there are too few seeds.
    """
    n, mean, sd = scores.count(), scores.mean(), scores.std()
    half = student_t.ppf((1 + CONFIDENCE) / 2, (n - 1).clip(lower=1)) * sd / n**0.5
    cells = {"n": n, "mean": mean, "sd": sd, "low": mean - half, "high": mean + half}
    return pd.DataFrame(cells, index=scores.columns)


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
