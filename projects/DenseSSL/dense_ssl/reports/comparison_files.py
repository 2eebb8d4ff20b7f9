"""A comparison as markdown, csv and json."""

import csv
import io
import json
import math

from ..checkpoint.files import atomic_file

DECIMALS = 2


def markdown_table(comparison, columns, decimals=DECIMALS):
    """One table: a row per backbone, a column per metric, the columns grouped by protocol.

    A cell is mean ± standard deviation, in brackets the difference to the first row, and n where
    it is not the number of seeds of the table; the best mean of a column is bold.

    Args:
        comparison: :class:`~.comparison.Comparison`.
        columns: those of ``comparison.columns`` to show.
        decimals: digits behind the point.

    Returns:
        text, its columns aligned.
    """
    # a markdown table has one line of headings, so the protocols' names stand in the first row
    protocols = [x for x, _ in columns]
    groups = [x if x not in protocols[:i] else "" for i, x in enumerate(protocols)]
    rows = [["", *groups], ["backbone", *(f"*{metric}*" for _, metric in columns)]]
    best = {column: comparison.best(column, decimals) for column in columns}
    for name in comparison.backbones:
        cells = [comparison.cells[(name, *x)] for x in columns]
        rows.append([name, *(
            format_cell(cell, len(comparison.seeds), name in best[column], decimals)
            for cell, column in zip(cells, columns)
        )])  # fmt: skip
    return _align(rows)


def _align(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(x.ljust(w) for x, w in zip(row, widths)) + " |" for row in rows]
    rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def format_cell(cell, num_seeds, bold, decimals=DECIMALS):
    """Text of a cell, such as "**38.92 ± 0.21** (+1.20) n=2"."""
    if not cell.n:
        return "–"
    text = f"{cell.mean:.{decimals}f}"
    if cell.sd is not None:
        text += f" ± {cell.sd:.{decimals}f}"
    if bold:
        text = f"**{text}**"
    if cell.difference is not None:
        text += f" ({cell.difference:+.{decimals}f})"
    return text + (f" n={cell.n}" if cell.n < num_seeds else "")


def legend(comparison):
    """How to read the table."""
    if not comparison.columns:
        return "There is nothing to show yet."
    seeds = ", ".join(map(str, comparison.seeds))
    spread = "Mean ± sample standard deviation over" if len(comparison.seeds) > 1 else "One"
    text = f"{spread} seed{'s' * (len(comparison.seeds) > 1)} {seeds}; the best of a column is bold"
    if len(comparison.backbones) > 1:
        text += (
            f"; in brackets the difference to {comparison.backbones[0]!r} over the seeds that both "
            "have"
        )
    return text + "."


def markdown_report(comparison, decimals=DECIMALS, by_protocol=False):
    """The table, or one for each protocol, with its legend and notes."""
    columns = comparison.columns
    groups = [columns] if columns else []
    if by_protocol:
        groups = [[x for x in columns if x[0] == name] for name in comparison.protocols]
    parts = [markdown_table(comparison, x, decimals) for x in groups]
    parts.append(legend(comparison))
    if comparison.notes:
        parts.append("\n".join(f"* {x}" for x in comparison.notes))
    return "\n\n".join(parts) + "\n"


def csv_report(comparison):
    """One line per cell, with the values of the seeds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["protocol", "metric", "backbone", "n", *_NUMBERS, "seeds", "values"])
    for protocol, metric in comparison.columns:
        for name in comparison.backbones:
            cell = comparison.cells[name, protocol, metric]
            numbers = (_plain(getattr(cell, key)) for key in _NUMBERS)
            seeds, values = (" ".join(map(str, x)) for x in (cell.values, cell.values.values()))
            writer.writerow([protocol, metric, name, cell.n, *numbers, seeds, values])
    return text.getvalue()


def json_report(comparison):
    """{"protocols": {protocol: {metric: {backbone: its cell}}}, ...}; strict json, without NaN."""
    protocols = {}
    for protocol, metric in comparison.columns:
        cells = {x: comparison.cells[x, protocol, metric] for x in comparison.backbones}
        protocols.setdefault(protocol, {})[metric] = {
            name: {
                "n": cell.n,
                **{key: _plain(getattr(cell, key)) for key in _NUMBERS},
                "values": {str(seed): x for seed, x in cell.values.items()},
            }
            for name, cell in cells.items()
        }
    report = {
        "backbones": comparison.backbones,
        "reference": comparison.backbones[0] if comparison.backbones else None,
        "seeds": comparison.seeds,
        "protocols": protocols,
        "notes": comparison.notes,
    }
    return json.dumps(report, indent=1, allow_nan=False) + "\n"


_NUMBERS = ("mean", "sd", "difference", "difference_sd")


def _plain(number):
    return None if number is None or math.isnan(number) else number


def write_reports(comparison, folder, decimals=DECIMALS):
    """Write comparison.md, comparison.csv and comparison.json."""
    reports = {
        "md": markdown_report(comparison, decimals),
        "csv": csv_report(comparison),
        "json": json_report(comparison),
    }
    for suffix, text in reports.items():
        with atomic_file(folder / f"comparison.{suffix}") as file:
            file.write(text.encode())
