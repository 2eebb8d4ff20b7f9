"""All scores below a folder: one row per run, one column per score."""

import os
from pathlib import Path

import yaml

from ..utils.json_file import read_object
from ..utils.metrics_file import read_records

PRETRAINING = "pretraining"


def read_scores(folder):
    """Collect the scores of the runs below a folder.

    * A comparison.json of tools/compare.py: a row per backbone and seed, columns such as
      "BCCD/frozen bbox/AP", those of its pre-trainings as "pretraining probe/accuracy".
    * A result of tools/analyze.py: a column such as "sensitivity slope" for each number, in all
      rows of the backbone with that name.
    * Without a comparison.json, each folder with a metrics.json: a row per run with its last
      values, columns such as "bbox/AP"; those of the run that its MODEL.WEIGHTS came from begin
      with "pretraining".

    Args:
        folder: path.

    Returns:
        {(backbone, run): {column: number}}; "run" is "seed1" or the path of a run.

    Raises:
        FileNotFoundError: there is nothing of this.
    """
    folder = Path(folder)
    comparisons = sorted(folder.rglob("comparison.json"))
    runs = sorted(folder.rglob("metrics.json"))
    rows = {}
    for path in comparisons:
        _add_comparison(rows, path)
    if not comparisons:
        for path in runs:
            _add_run(rows, path.parent, folder)
    for path in sorted({*folder.rglob("*.json")} - {*comparisons, *runs}):
        _add_analysis(rows, read_object(path))
    if not rows:
        raise FileNotFoundError(
            f"{os.fspath(folder)!r} has no comparison.json, no metrics.json of a run and no result "
            "of tools/analyze.py."
        )
    return rows


def _add_comparison(rows, path):
    for protocol, metrics in read_object(path)["protocols"].items():
        for metric, backbones in metrics.items():
            for backbone, entry in backbones.items():
                for seed, value in entry["values"].items():
                    row = rows.setdefault((backbone, f"seed{seed}"), {})
                    row[f"{protocol} {metric}"] = value
    for (backbone, seed), row in rows.items():
        run = path.parent / PRETRAINING / backbone / seed
        row.update(_prefixed(_last_values(run)))


def _add_run(rows, run, folder):
    row = _last_values(run)
    config = run / "config.yaml"
    if config.is_file():
        weights = yaml.safe_load(config.read_text(encoding="utf-8"))["MODEL"]["WEIGHTS"]
        if weights and os.path.dirname(weights) != os.fspath(run):
            row.update(_prefixed(_last_values(Path(weights).parent)))
    name = run.relative_to(folder).as_posix()
    rows[(name, name)] = row


def _add_analysis(rows, record):
    for name, numbers in record.get("results", {}).items():
        columns = {f"{record['analysis']} {key}": x for key, x in numbers.items() if _is_number(x)}
        same = [row for (backbone, _), row in rows.items() if backbone == name]
        for row in same or [rows.setdefault((name, name), {})]:
            row.update(columns)


def _last_values(run):
    """Return {name: last value} of the metrics.json of a run, {} without one."""
    path, values = run / "metrics.json", {}
    if path.is_file():
        for record in read_records(path):
            values.update({key: x for key, x in record.items() if _is_number(x)})
    values.pop("iteration", None)
    return values


def _prefixed(values):
    return {f"{PRETRAINING} {key}": x for key, x in values.items()}


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
