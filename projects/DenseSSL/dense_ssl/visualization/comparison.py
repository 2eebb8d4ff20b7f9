"""A comparison of backbones as a plot."""

import math
import textwrap

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402

# One number per task is enough for a plot; the table has the others.
HEADLINES = ("AP", "mIoU")
PANELS_PER_ROW = 3
_LINE = 60  # characters of the legend below a panel


def draw_comparison(comparison, path):
    """Draw a panel per protocol: a dot per seed, the mean and its interval.

    A dashed line marks the mean of the first reference.

    Args:
        comparison: :class:`~dense_ssl.reports.comparison.Comparison`, not empty.
        path: PNG file to write.
    """
    protocols = comparison.protocols
    across = min(len(protocols), PANELS_PER_ROW)
    down = math.ceil(len(protocols) / across)
    height = 1.5 + 0.4 * len(comparison.backbones)
    figure, axes = plt.subplots(
        down, across, figsize=(5.0 * across, height * down), squeeze=False, layout="constrained"
    )
    for axis, protocol in zip(axes.flat, protocols):
        _draw_panel(axis, comparison, protocol)
    for axis in axes.flat[len(protocols) :]:
        axis.set_axis_off()
    legend = textwrap.fill(_legend(comparison), _LINE * across)
    figure.supxlabel(legend, fontsize=9, color="0.35")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def panel_metrics(comparison, protocol):
    """Return the metrics that a panel shows: the headline of each task, or all if none is one."""
    metrics = [metric for name, metric in comparison.columns if name == protocol]
    return [x for x in metrics if x.rsplit("/", 1)[-1] in HEADLINES] or metrics


def _legend(comparison):
    text = "small dots: seeds; large dots: means"
    if comparison.cells["low"].notna().any():
        text += "; bars: their 95 % intervals"
    return f"{text}; dashed line: {comparison.references[0]}"


def _draw_panel(axis, comparison, protocol):
    metrics = panel_metrics(comparison, protocol)
    for m, metric in enumerate(metrics):
        # the metrics of a row are shifted, so that equal values do not hide each other
        shift = (m - (len(metrics) - 1) / 2) * 0.6 / len(metrics)
        for row, name in enumerate(comparison.backbones):
            if comparison.cells.loc[(protocol, metric, name), "n"]:
                _draw_cell(axis, comparison, (protocol, metric, name), row + shift, f"C{m}")
        mean = comparison.cells.loc[(protocol, metric, comparison.references[0]), "mean"]
        if len(comparison.backbones) > 1:
            axis.axvline(mean, color=f"C{m}", lw=1, ls="--", alpha=0.7, zorder=0)
        axis.plot([], [], "o", color=f"C{m}", label=metric)  # for the legend
    axis.set_yticks(range(len(comparison.backbones)), comparison.backbones, fontsize=10)
    axis.set_ylim(len(comparison.backbones) - 0.5, -0.5)
    axis.set_title(protocol, fontsize=10 if len(protocol) < 40 else 8)
    axis.grid(axis="x", alpha=0.3)
    if len(metrics) == 1:
        axis.set_xlabel(metrics[0])
    else:
        axis.legend(fontsize=8)


def _draw_cell(axis, comparison, key, y, color):
    cell, values = comparison.cells.loc[key], comparison.scores[key].dropna()
    # below the bar, which would hide them
    axis.plot(values, [y + 0.16] * len(values), "o", color=color, alpha=0.6, ms=3.5, mew=0)
    half = (cell["high"] - cell["low"]) / 2
    error = None if math.isnan(half) else half
    axis.errorbar(cell["mean"], y, xerr=error, fmt="o", color=color, ms=6, capsize=3.5, lw=1.8)
