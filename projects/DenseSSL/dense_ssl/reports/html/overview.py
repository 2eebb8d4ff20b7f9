"""The first thing a reader sees: what the runs are, how far they are, what they reached."""

from .model import Cell, Table
from .scores import is_headline
from .tables import duration, number, number_cell, text_cell


def overview_table(runs):
    """Return a row per run."""
    columns = ["run", "method", "backbone", "iterations", "batch", "state", "s/step", "loss",
               "result"]  # fmt: skip
    return Table("Runs", columns, [_row(x) for x in runs])


def _row(run):
    length = f" of {run.length:,}" if run.iteration < run.length else ""
    return [
        text_cell(run.name),
        text_cell(run.config.get("MODEL.META_ARCHITECTURE", "–")),
        text_cell(backbone_name(run.config)),
        Cell(f"{run.iteration:,}{length}", run.iteration),
        number_cell(run.config.get("SOLVER.IMS_PER_BATCH")),
        text_cell(run.state),
        number_cell(_last(run, "time"), 2),
        number_cell(_last(run, "total_loss"), 3),
        _result(run),
    ]


def _result(run):
    name = next((x for x in run.scores if is_headline(x)), None)
    if name is not None:
        return Cell(f"{name} {number(run.scores[name], 1)}", run.scores[name])
    angle = _last(run, "backbone/angle")
    return Cell("–") if angle is None else Cell(f"angle {angle:.1f}°", angle)


def facts(run):
    """Return (label, value, unit) for the top of the report of a single run."""
    found = [
        ("method", run.config.get("MODEL.META_ARCHITECTURE", "–"), backbone_name(run.config)),
        ("iterations", f"{run.iteration:,}",
         f"of {run.length:,}, {run.state}" if run.iteration < run.length else run.state),
    ]  # fmt: skip
    images = (run.record.get("data") or {}).get("images")
    if images:
        epochs = run.iteration * run.config.get("SOLVER.IMS_PER_BATCH", 0) / images
        found.append(("images", number(images), f"{epochs:.1f} epochs" if epochs else ""))
    loss = _last(run, "total_loss")
    if loss is not None:
        found.append(("loss", number(loss, 3), ""))
    found += [(name, number(run.scores[name], 1), "") for name in run.scores if is_headline(name)]
    for name in _last_probes(run):
        found.append((name, number(_last(run, name)), ""))
    if _last(run, "backbone/angle") is not None:
        found.append(("angle from the start", f"{_last(run, 'backbone/angle'):.1f}°", ""))
    seconds = _training_seconds(run)
    if seconds:
        found.append(("time in steps", duration(seconds), f"{_last(run, 'time'):.2f} s/step"))
    return found


def _last_probes(run):
    return [x for x in ("probe/linear", "probe/knn") if x in run.metrics]


def backbone_name(config):
    """Return a short name of a backbone, such as "R-50 FPN" or "resnet18 FPN"."""
    builder = config.get("MODEL.BACKBONE.NAME", "")
    if "timm" in builder or "vit" in builder:
        name = config.get("MODEL.TIMM.NAME", builder)
    elif "resnet" in builder:
        name = f"R-{config.get('MODEL.RESNETS.DEPTH')}"
    else:
        name = builder or "–"
    return name + (" FPN" if "fpn" in builder else "")


def _last(run, name):
    return run.metrics[name][1][-1] if name in run.metrics else None


def _training_seconds(run):
    """Return the time that the steps took: of each report, the steps since the one before."""
    iterations, seconds = run.metrics.get("time", ((), ()))
    before, total = -1, 0.0
    for iteration, value in zip(iterations, seconds):
        total += (iteration - before) * value
        before = iteration
    return total
