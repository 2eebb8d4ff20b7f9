"""Whether a cheap score tells which backbone detects best (Roh et al. 2021, Fig. A1)."""

import fnmatch
import math
from dataclasses import dataclass

import numpy as np

from ..visualization.correlation import draw_scatter
from .registry import ANALYSES, Analysis, option

_MOST_PANELS = 12


@ANALYSES.register()
class Correlation(Analysis):
    """Correlation between two scores over the runs of a folder, by Pearson and by Spearman.

    --data is the folder: of tools/compare.py, with results of tools/analyze.py beside it, or of
    runs with their metrics.json.
    """

    name, source = "correlation", "SCRL Fig. A1"
    needs, takes_weights = "", False

    @dataclass
    class Options:
        """Options of the command line."""

        x: str = option("*probe*accuracy", "scores on the x axis: names or patterns of columns, "
                        "separated by commas")  # fmt: skip
        y: str = option("*/AP,*mIoU", "scores on the y axis, in the same form")

    def run(self, job):
        # pandas and scipy, which only this analysis needs
        from ..reports.rank_correlation import correlation
        from ..reports.score_table import read_scores

        rows = read_scores(job.data or ".")
        columns = list(dict.fromkeys(key for row in rows.values() for key in row))
        pairs = [
            (x, y) for y in choose(columns, self.options.y, "--y")
            for x in choose(columns, self.options.x, "--x") if x != y
        ]  # fmt: skip
        numbers, panels = {}, []
        for x, y in pairs:
            groups = paired(rows, x, y)
            if not groups:
                continue
            values = list(groups.values())
            numbers[f"{x} | {y}"] = entry = {
                "runs": sum(map(len, values)), "backbones": len(groups),
                **{kind: _as_dict(correlation(values, kind)) for kind in ("pearson", "spearman")},
            }  # fmt: skip
            panels.append((x, y, groups, entry))
        if not panels:
            raise ValueError(f"no run has both a score {self.options.x!r} and one "
                             f"{self.options.y!r}. Scores there: {_listed(columns)}.")  # fmt: skip
        return numbers, {"": draw_scatter(panels[:_MOST_PANELS])}


def choose(columns, patterns, key):
    """Return the columns that fit one of some patterns, separated by commas.

    Raises:
        ValueError: a pattern fits none.
    """
    found = []
    for pattern in filter(None, (x.strip() for x in patterns.split(","))):
        found += [x for x in columns if fnmatch.fnmatchcase(x, pattern)]
    if not found:
        raise ValueError(f"{key}: no score fits {patterns!r}. There are: {_listed(columns)}.")
    return list(dict.fromkeys(found))


def paired(rows, x, y):
    """Return {backbone: (runs, 2)} of the runs that have both scores.

    Args:
        rows: result of :func:`~dense_ssl.reports.score_table.read_scores`.
        x, y: columns.
    """
    groups = {}
    for (backbone, _), row in rows.items():
        if x in row and y in row:
            groups.setdefault(backbone, []).append((row[x], row[y]))
    return {name: np.array(values, np.float64) for name, values in groups.items()}


def _as_dict(result):
    r, low, high = result
    if math.isnan(r):
        return {"r": None, "interval": None}
    return {"r": r, "interval": [low, high]}


def _listed(columns):
    return ", ".join(sorted(columns)[:40]) or "none"
