"""All scores below a folder: one row per run, one column per score."""

import os
from pathlib import Path

from ..utils.json_file import read_object
from ..utils.metrics_file import read_records
from .html.configs import stated_weights

PRETRAINING = "pretraining"


def read_scores(folder):
    """Collect the scores of the runs below a folder.

    * Each comparison.json of tools/compare.py: a row per backbone and seed, columns such as
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
        # several may have the same backbones and seeds
        place = f"{path.parent.relative_to(folder).as_posix()}/" if len(comparisons) > 1 else ""
        _add_comparison(rows, path, place)
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


def _add_comparison(rows, path, place):
    """Add the rows of a comparison; ``place`` is in front of the names of its runs."""
    for protocol, metrics in read_object(path)["protocols"].items():
        for metric, backbones in metrics.items():
            for backbone, entry in backbones.items():
                for seed, value in entry["values"].items():
                    row = rows.setdefault((backbone, f"{place}seed{seed}"), {})
                    row[f"{protocol} {metric}"] = value
    for (backbone, name), row in rows.items():
        if name.startswith(place):
            run = path.parent / PRETRAINING / backbone / name[len(place) :]
            row.update(_prefixed(_last_values(run)))


def _add_run(rows, run, folder):
    row = _last_values(run)
    weights = stated_weights(run)
    if weights and Path(weights).resolve().parent != run.resolve():
        row.update(_prefixed(_last_values(Path(weights).parent)))
    name = run.relative_to(folder).as_posix()
    rows[(name, name)] = row


def _add_analysis(rows, record):
    results = record.get("results")
    if "analysis" not in record or not isinstance(results, dict):  # of another program
        return
    for name, numbers in results.items():
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
