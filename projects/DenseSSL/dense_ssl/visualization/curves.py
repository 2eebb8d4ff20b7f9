"""Curves of the metrics in a metrics.json."""

import matplotlib

from ..utils.metrics_file import read_records

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402


def read_metrics(path):
    """Return {name: (list of iterations, list of values)} of the metrics.json of a run."""
    metrics = {}
    for record in read_records(path):
        for name, value in record.items():
            iterations, values = metrics.setdefault(name, ([], []))
            iterations.append(record["iteration"])
            values.append(value)
    return metrics


def draw_curves(panels, path):
    """Draw curves side by side.

    Args:
        panels: list of (title, {label: (iterations, values)}).
        path: PNG file to write.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(4.5 * len(panels), 3.4), squeeze=False)
    for axis, (title, curves) in zip(axes[0], panels):
        for label, (iterations, values) in curves.items():
            axis.plot(iterations, values, label=label)
        axis.set_title(title)
        axis.set_xlabel("iteration")
        axis.grid(alpha=0.3)
        if len(curves) > 1:
            axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
