"""A comparison as markdown, csv and json."""

import json
import math

from tabulate import tabulate

from ..checkpoint.files import atomic_file
from .comparison import best_cells

DECIMALS = 2


def markdown_table(comparison, columns, decimals=DECIMALS):
    """Return a table with a row per backbone and a column per metric, grouped by protocol.

    Args:
        comparison: :class:`~.comparison.Comparison`.
        columns: those of ``comparison.columns`` to show.
        decimals: digits after the point.
    """
    # a markdown table has a single header line, so the metrics are in the first row
    protocols = [x for x, _ in columns]
    groups = [x if x not in protocols[:i] else "" for i, x in enumerate(protocols)]
    rows = [["backbone", *(f"*{metric}*" for _, metric in columns)]]
    best, num_seeds = best_cells(comparison.cells, decimals), len(comparison.scores)
    for name in comparison.backbones:
        keys = [(*column, name) for column in columns]
        cells = [comparison.cells.loc[key] for key in keys]
        rows.append([name, *(
            format_cell(cell, num_seeds, best[key], decimals) for key, cell in zip(keys, cells)
        )])  # fmt: skip
    return tabulate(rows, ["", *groups], tablefmt="github", disable_numparse=True)


def format_cell(cell, num_seeds, bold, decimals=DECIMALS):
    """Return the text of a cell, such as "**38.92 ± 0.21** (+1.20) n=2"."""
    if not cell["n"]:
        return "–"
    text = f"{cell['mean']:.{decimals}f}"
    if not math.isnan(cell["sd"]):
        text += f" ± {cell['sd']:.{decimals}f}"
    if bold:
        text = f"**{text}**"
    if not math.isnan(cell["difference"]):
        text += f" ({cell['difference']:+.{decimals}f})"
    return text + (f" n={cell['n']:.0f}" if cell["n"] < num_seeds else "")


def markdown_report(comparison, decimals=DECIMALS, by_protocol=False):
    """Return the table, or one for each protocol, with its legend and notes."""
    columns = comparison.columns
    groups = [columns] if columns else []
    if by_protocol:
        groups = [[x for x in columns if x[0] == name] for name in comparison.protocols]
    parts = [markdown_table(comparison, x, decimals) for x in groups]
    parts.append(_legend(comparison))
    if comparison.notes:
        parts.append("\n".join(f"* {x}" for x in comparison.notes))
    return "\n\n".join(parts) + "\n"


def _legend(comparison):
    if not comparison.columns:
        return "No results yet."
    seeds = list(comparison.scores.index)
    text = f"Seed {seeds[0]}"
    if len(seeds) > 1:
        text = f"Mean ± sample standard deviation over the seeds {', '.join(map(str, seeds))}"
    text += "; bold: the best of a column"
    if len(comparison.backbones) > 1:
        text += f"; in brackets: the difference to {comparison.backbones[0]!r} with the same seeds"
    return text + "."


def csv_report(comparison):
    """Return a line per cell: its statistics and the value of each seed."""
    table = comparison.cells.join(comparison.scores.T.add_prefix("seed"))
    return table.to_csv(lineterminator="\n")


def json_report(comparison):
    """Return {"protocols": {protocol: {metric: {backbone: cell}}}, ...}; null instead of NaN."""
    protocols = {}
    cells = comparison.cells.astype(object).where(comparison.cells.notna(), None)
    for (protocol, metric, backbone), cell in cells.iterrows():
        values = comparison.scores[protocol, metric, backbone].dropna()
        cell["values"] = {str(seed): value for seed, value in values.items()}
        protocols.setdefault(protocol, {}).setdefault(metric, {})[backbone] = cell.to_dict()
    report = {
        "backbones": comparison.backbones,
        "reference": comparison.backbones[0],
        "seeds": comparison.scores.index.tolist(),
        "protocols": protocols,
        "notes": comparison.notes,
    }
    return json.dumps(report, indent=1, allow_nan=False) + "\n"


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
