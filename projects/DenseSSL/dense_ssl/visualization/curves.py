"""Curves of the metrics in a metrics.json."""

import math
import os

from matplotlib.figure import Figure

from ..utils.metrics_file import read_records

# Panels of a run: title, and the ends of the names of metrics in it.
_PANELS = (
    ("evaluation", ("/AP", "/AP50", "/mIoU", "/PQ", "roi/top1_accuracy", "roi/class_accuracy")),
    ("probe: class accuracy in percent", ("probe/linear", "probe/knn")),
    ("spread of the features (0: collapse)", ("_std",)),
    ("share found", ("/top1", "/chance", "/arrived", "accuracy")),
    ("angle of the backbone from its start, degrees", ("_angle", "/angle")),
    ("learning rate", ("lr",)),
)
_COLUMNS = 3
_MOST_CURVES = 12  # of a panel; beyond it nobody tells them apart


def read_metrics(path):
    """Return {name: (list of iterations, list of values)} of the metrics.json of a run.

    What a resumed run has done again counts once, with its last values.
    """
    metrics = {}
    for record in read_records(path):
        for name, value in record.items():
            iterations, values = metrics.setdefault(name, ([], []))
            while iterations and iterations[-1] >= record["iteration"]:
                iterations.pop()
                values.pop()
            iterations.append(record["iteration"])
            values.append(value)
    return metrics


def draw_run(metrics_file, path):
    """Draw what shows how a run goes; nothing if nothing has been written yet.

    Args:
        metrics_file: metrics.json of a pre-training or a fine-tuning.
        path: PNG file to write.
    """
    if not os.path.isfile(metrics_file):
        return
    panels = run_panels(read_metrics(metrics_file))
    if panels:
        draw_curves(panels, path)


def run_panels(metrics):
    """Return the panels of a run for :func:`draw_curves`, without those that have no curve.

    Args:
        metrics: result of :func:`read_metrics`.
    """
    losses = sorted(x for x in metrics if "loss" in x and "/" not in x)
    if len(losses) == 2:  # the total and the only loss, which are equal
        losses = [x for x in losses if x != "total_loss"]
    panels, rest = [("loss", losses)], set(metrics)
    for title, ends in _PANELS:
        names = sorted(x for x in rest if x.endswith(ends))
        panels.append((title, names))
        rest -= set(names)
    return [
        (title, {name: metrics[name] for name in names[:_MOST_CURVES]})
        for title, names in panels
        if names
    ]


def draw_curves(panels, path):
    """Draw curves, three panels in a row.

    Args:
        panels: list of (title, {label: (iterations, values)}).
        path: PNG file to write.
    """
    columns = min(len(panels), _COLUMNS)
    rows = math.ceil(len(panels) / columns)
    # not pyplot, which would change the backend of a notebook and keep every figure
    figure = Figure(figsize=(4.5 * columns, 3.4 * rows))
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis, (title, curves) in zip(axes, panels):
        for label, (iterations, values) in curves.items():
            marker = "." if len(iterations) == 1 else ""
            axis.plot(iterations, values, label=label, marker=marker)
        axis.set_title(title)
        axis.set_xlabel("iteration")
        axis.grid(alpha=0.3)
        if len(curves) > 1:
            axis.legend(fontsize="small")
    for axis in axes[len(panels) :]:
        axis.remove()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
