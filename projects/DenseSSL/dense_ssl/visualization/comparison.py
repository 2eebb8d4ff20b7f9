"""A comparison of backbones as a picture."""

import math

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402

# One number says enough of each task; the others stand in the table.
HEADLINES = ("AP", "mIoU")
PANELS_PER_ROW = 3


def draw_comparison(comparison, path):
    """Draw a panel per protocol: a dot per seed, the mean as a line across them.

    The mean of the first backbone goes through the whole panel, for the eye.

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
    """The metrics that a panel shows: the headline of each task, or all if there is none."""
    metrics = [metric for name, metric in comparison.columns if name == protocol]
    return [x for x in metrics if x.rsplit("/", 1)[-1] in HEADLINES] or metrics


def _draw_panel(axis, comparison, protocol):
    metrics = panel_metrics(comparison, protocol)
    for m, metric in enumerate(metrics):
        colour = f"C{m}"
        for row, name in enumerate(comparison.backbones):
            cell = comparison.cells[name, protocol, metric]
            if not cell.n:
                continue
            # metrics one above the other, so that equal values do not hide each other
            y = row + (m - (len(metrics) - 1) / 2) * 0.6 / len(metrics)
            axis.plot(list(cell.values.values()), [y] * cell.n, "o", color=colour, alpha=0.5, ms=5)
            label = metric if row == _first_row(comparison, protocol, metric) else None
            axis.plot([cell.mean] * 2, [y - 0.2, y + 0.2], color=colour, lw=2.5, label=label)
            if row == 0 and len(comparison.backbones) > 1:
                axis.axvline(cell.mean, color=colour, lw=0.8, ls="--", alpha=0.6, zorder=0)
    axis.set_yticks(range(len(comparison.backbones)), comparison.backbones)
    axis.set_ylim(len(comparison.backbones) - 0.5, -0.5)
    axis.set_title(protocol, fontsize=9)
    axis.grid(axis="x", alpha=0.3)
    if len(metrics) == 1:
        axis.set_xlabel(metrics[0])
    elif axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8)


def _first_row(comparison, protocol, metric):
    """The first row with a value, which carries the legend."""
    rows = enumerate(comparison.backbones)
    return next(i for i, x in rows if comparison.cells[x, protocol, metric].n)
