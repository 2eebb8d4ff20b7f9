"""Two scores of runs against each other, as SCRL's Fig. A1."""

import math

import numpy as np
from matplotlib.figure import Figure

_COLUMNS = 3


def draw_scatter(panels):
    """Draw a point per run, the regression line and the 95 % band of its mean.

    Args:
        panels: list of (name of x, name of y, {backbone: (runs, 2)}, numbers with "pearson" and
            "spearman", each with "r" or None).

    Returns:
        matplotlib Figure.
    """
    columns = min(len(panels), _COLUMNS)
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(4.6 * columns, 3.8 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis, (x, y, groups, entry) in zip(axes, panels):
        together = np.concatenate(list(groups.values()))
        middle = (together[:, 0].min() + together[:, 0].max()) / 2
        for i, (name, points) in enumerate(groups.items()):
            axis.plot(*points.T, "o", ms=5, color=f"C{i % 10}", zorder=3)
            # the name beside its mean: a legend of many backbones would hide the points
            place = points.mean(axis=0)
            side = ("left", 4) if place[0] <= middle else ("right", -4)
            axis.annotate(name, place, (side[1], 4), textcoords="offset points", fontsize=7,
                          ha=side[0])  # fmt: skip
        line = regression(together)
        if line is not None:
            places, middle, half = line
            axis.plot(places, middle, color="0.3", lw=1.2)
            axis.fill_between(places, middle - half, middle + half, color="0.3", alpha=0.15, lw=0)
        texts = [f"{kind} {entry[kind]['r']:.2f}" for kind in ("pearson", "spearman")
                 if entry[kind]["r"] is not None]  # fmt: skip
        axis.set_title(", ".join(texts) or _why_none(groups), fontsize=9)
        axis.set_xlabel(x, fontsize=8)
        axis.set_ylabel(y, fontsize=8)
        axis.grid(alpha=0.3)
    for axis in axes[len(panels) :]:
        axis.remove()
    return figure


def _why_none(groups):
    return "fewer than three backbones" if len(groups) < 3 else "one of the scores never differs"


def regression(points):
    """Return (places, the fitted line there, half of the 95 % interval of the mean there).

    Args:
        points: (n, 2).

    Returns:
        three (50,) arrays; None with fewer than three points, or where all x are equal.
    """
    from scipy.stats import t as student_t

    x, y = points.T
    spread = ((x - x.mean()) ** 2).sum()
    if len(x) < 3 or not spread:
        return None
    slope = ((x - x.mean()) * (y - y.mean())).sum() / spread
    residual = y - y.mean() - slope * (x - x.mean())
    deviation = math.sqrt((residual**2).sum() / (len(x) - 2))
    places = np.linspace(x.min(), x.max(), 50)
    middle = y.mean() + slope * (places - x.mean())
    error = deviation * np.sqrt(1 / len(x) + (places - x.mean()) ** 2 / spread)
    return places, middle, student_t.ppf(0.975, len(x) - 2) * error
