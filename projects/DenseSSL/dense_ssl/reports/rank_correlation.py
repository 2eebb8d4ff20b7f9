"""Does a cheap probe rank runs as a detector does: correlations over all runs."""

import math

import numpy as np
from scipy.stats import rankdata

from .comparison import CONFIDENCE

RESAMPLES = 2000
PROBE_METRICS = ("probe/class_accuracy", "probe/knn")


def probe_correlations(comparison):
    """Return the correlations of each probe with the first metric of every other protocol.

    Args:
        comparison: :class:`~.comparison.Comparison`.

    Returns:
        list of {"probe", "probe_metric", "protocol", "metric", "n" (runs), "rho", "interval"}; rho
        is None with fewer than three backbones.
    """
    first = {}
    for protocol, metric in comparison.columns:
        first.setdefault(protocol, metric)
    probes = [x for x in comparison.columns if x[1] in PROBE_METRICS]
    found = []
    for probe, measure in probes:
        for protocol, metric in first.items():
            same_data = protocol.partition("/")[0] == probe.partition("/")[0]
            if metric in PROBE_METRICS or "@" in protocol or not same_data:
                continue
            groups = [
                comparison.scores[[(probe, measure, x), (protocol, metric, x)]]
                .dropna().to_numpy() for x in comparison.backbones
            ]  # fmt: skip
            groups = [x for x in groups if len(x)]
            rho, low, high = rank_correlation(groups)
            found.append({"probe": probe, "probe_metric": measure,
                          "protocol": protocol, "metric": metric, "n": sum(map(len, groups)),
                          "rho": _or_none(rho),
                          "interval": None if math.isnan(low) else [low, high]})  # fmt: skip
    return found


def rank_correlation(groups):
    """Return (rho, low, high): Spearman's correlation, see :func:`correlation`."""
    return correlation(groups, "spearman")


def correlation(groups, kind):
    """Return (r, low, high): a correlation and its bootstrap interval.

    Runs of one backbone resemble each other, so whole backbones are drawn, not runs.

    Args:
        groups: for each backbone an array (runs, 2) of both scores.
        kind: "pearson" or "spearman".

    Returns:
        floats; NaN with fewer than three groups, or where one score is always the same.
    """
    if len(groups) < 3:
        return math.nan, math.nan, math.nan
    measure = _KINDS[kind]
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(groups), size=(RESAMPLES, len(groups)))
    values = np.array([measure(np.concatenate([groups[i] for i in row])) for row in drawn])
    values = values[~np.isnan(values)]  # a draw of one backbone alone may have no spread
    r, tail = measure(np.concatenate(groups)), (1 - CONFIDENCE) / 2
    if math.isnan(r) or not len(values):
        return math.nan, math.nan, math.nan
    return r, *map(float, np.quantile(values, [tail, 1 - tail]))


def correlation_notes(correlations):
    """Return the correlations as texts."""
    notes = []
    for x in correlations:
        text = (f"Spearman's correlation of {x['probe']} {x['probe_metric']} with "
                f"{x['protocol']} {x['metric']}")  # fmt: skip
        if x["interval"] is None:
            notes.append(f"{text}: fewer than three backbones, or a score that never differs; no "
                         "interval")  # fmt: skip
            continue
        low, high = x["interval"]
        notes.append(f"{text} over {x['n']} runs: {x['rho']:.2f}, {CONFIDENCE:.0%} interval "
                     f"{low:.2f} to {high:.2f} (bootstrap over backbones)")  # fmt: skip
    return notes


def _pearson(pairs):
    first, second = (x - x.mean() for x in pairs.T)
    spread = math.sqrt((first @ first) * (second @ second))
    return float(first @ second / spread) if spread else math.nan


def _spearman(pairs):
    return _pearson(np.stack([rankdata(x) for x in pairs.T], axis=1))


_KINDS = {"pearson": _pearson, "spearman": _spearman}


def _or_none(value):
    return None if math.isnan(value) else value
