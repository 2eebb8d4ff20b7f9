"""The comparison.json of tools/compare.py, as charts with intervals and as tables."""

import json
from pathlib import Path

from .model import Cell, Comparison, Interval, IntervalChart, Table
from .tables import number_cell, text_cell

_HEADLINES = ("AP", "mIoU", "class_accuracy", "accuracy")


def read_comparison(path):
    """Return a comparison.json as a :class:`~.model.Comparison`, None if it is not readable."""
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        charts, tables = [], []
        for protocol, metrics in content["protocols"].items():
            tables.append(_table(protocol, metrics, content))
            chosen = [x for x in metrics if x.rsplit("/", 1)[-1] in _HEADLINES] or list(metrics)
            charts += [_chart(protocol, x, metrics[x], content) for x in chosen]
        correlations = _correlations(content.get("correlations") or [])
        return Comparison(
            path.parent.resolve().name,
            [x for x in charts if x],
            tables + correlations,
            _legend(content),
            content.get("notes", []),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _chart(protocol, metric, cells, content):
    rows = [
        Interval(name, x["mean"], *(x["interval"] or (None, None)), list(x["values"].values()))
        for name, x in cells.items()
        if x["n"]
    ]
    reference = content["references"][0]
    means = {x.name: x.mean for x in rows}
    title = f"{protocol} · {metric}"
    return IntervalChart(title, reference, means.get(reference), rows) if rows else None


def _table(protocol, metrics, content):
    reference = content["references"][0]
    columns = ["backbone"]
    for metric in metrics:
        columns += [metric, "±", f"minus {reference}"]
    rows = []
    for name in content["backbones"]:
        row = [text_cell(name)]
        for cells in metrics.values():
            row += _cells(cells.get(name), reference)
        if any(x.sort is not None for x in row[1:]):
            rows.append(row)
    return Table(protocol, [*columns, "seeds"], [[*x, _seeds(metrics, x)] for x in rows])


def _cells(cell, reference):
    if not cell or not cell["n"]:
        return [Cell("–")] * 3
    change = cell["differences"].get(reference)
    return [
        number_cell(cell["mean"], 2),
        number_cell(_half(cell["interval"]), 2),
        _change(change, cell["n"]),
    ]


def _change(change, count):
    """Return the difference with its interval; one pair of runs shows nothing.

    Args:
        change: of the json. count: seeds of the mean beside it; the reference may have fewer.
    """
    if not change or not change["interval"]:
        return Cell("–")
    low, high = change["interval"]
    text = f"{change['mean']:+.2f} ± {_half(change['interval']):.2f}"
    text += f" (n={change['n']})" if change.get("n", count) < count else ""
    return Cell(text, change["mean"], strong=low > 0 or high < 0)


def _half(interval):
    return (interval[1] - interval[0]) / 2 if interval else None


def _seeds(metrics, row):
    counts = [cells[row[0].text]["n"] for cells in metrics.values() if row[0].text in cells]
    return number_cell(max(counts, default=0))


def _legend(content):
    seeds = ", ".join(map(str, content["seeds"]))
    if len(content["seeds"]) < 2:
        return f"Seed {seeds} alone: no interval, so no difference is shown."
    return (
        f"Mean over the seeds {seeds}, ± half of its {content['confidence']:.0%} interval "
        f"({content['interval']}). Bold: the interval of the difference does not include 0, which "
        "for one difference in twenty happens by chance. No interval: fewer than two seeds are "
        "done."
    )


def _correlations(found):
    if not found:
        return []
    rows = [
        [text_cell(x["probe"]), text_cell(f"{x['protocol']} {x['metric']}"), number_cell(x["n"]),
         number_cell(x["rho"], 2),
         Cell(f"{x['interval'][0]:.2f} to {x['interval'][1]:.2f}" if x["interval"] else "–")]
        for x in found
    ]  # fmt: skip
    columns = ["probe", "score", "runs", "Spearman's r", "interval"]
    return [Table("Does a probe rank the backbones as the score does?", columns, rows)]
