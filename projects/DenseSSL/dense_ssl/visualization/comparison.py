"""A comparison of backbones as a plot."""

import math

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402

# One number per task is enough for a plot; the table has the others.
HEADLINES = ("AP", "mIoU")
PANELS_PER_ROW = 3


def draw_comparison(comparison, path):
    """Draw a panel per protocol: a dot per seed and the mean as a bar.

    A dashed line marks the mean of the first backbone.

    Args:
        comparison: :class:`~dense_ssl.reports.comparison.Comparison`, not empty.
        path: PNG file to write.
    """
    protocols = comparison.protocols
    across = min(len(protocols), PANELS_PER_ROW)
    down = math.ceil(len(protocols) / across)
    height = 1.3 + 0.45 * len(comparison.backbones)
    figure, axes = plt.subplots(
        down, across, figsize=(4.6 * across, height * down), squeeze=False, layout="constrained"
    )
    for axis, protocol in zip(axes.flat, protocols):
        _draw_panel(axis, comparison, protocol)
    for axis in axes.flat[len(protocols) :]:
        axis.set_axis_off()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def panel_metrics(comparison, protocol):
    """Return the metrics that a panel shows: the headline of each task, or all if none is one."""
    metrics = [metric for name, metric in comparison.columns if name == protocol]
    return [x for x in metrics if x.rsplit("/", 1)[-1] in HEADLINES] or metrics


def _draw_panel(axis, comparison, protocol):
    metrics = panel_metrics(comparison, protocol)
    for m, metric in enumerate(metrics):
        axis.plot([], [], color=f"C{m}", lw=2.5, label=metric)  # for the legend
        # the metrics of a row are shifted, so that equal values do not hide each other
        shift = (m - (len(metrics) - 1) / 2) * 0.6 / len(metrics)
        for row, name in enumerate(comparison.backbones):
            values = comparison.scores[protocol, metric, name].dropna()
            if values.empty:
                continue
            y, mean = row + shift, values.mean()
            axis.plot(values, [y] * len(values), "o", color=f"C{m}", alpha=0.5, ms=5)
            axis.plot([mean] * 2, [y - 0.2, y + 0.2], color=f"C{m}", lw=2.5)
            if row == 0 and len(comparison.backbones) > 1:
                axis.axvline(mean, color=f"C{m}", lw=0.8, ls="--", alpha=0.6, zorder=0)
    axis.set_yticks(range(len(comparison.backbones)), comparison.backbones)
    axis.set_ylim(len(comparison.backbones) - 0.5, -0.5)
    axis.set_title(protocol, fontsize=9)
    axis.grid(axis="x", alpha=0.3)
    if len(metrics) == 1:
        axis.set_xlabel(metrics[0])
    else:
        axis.legend(fontsize=8)
