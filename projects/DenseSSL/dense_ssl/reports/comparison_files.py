"""A comparison as markdown, csv and json."""

import json
import math

from ..checkpoint.files import atomic_file
from .comparison import best_cells

DECIMALS = 2


def markdown_report(comparison, decimals=DECIMALS):
    """Return a table per protocol, with a row per backbone and a column per metric, and the notes.

    Args:
        comparison: :class:`~.comparison.Comparison`.
        decimals: digits after the point.
    """
    parts = []
    if comparison.protocols:
        cells = comparison.cells.assign(best=best_cells(comparison.cells, decimals))
        num_seeds = len(comparison.scores)
        texts = cells.apply(format_cell, axis="columns", args=(num_seeds, decimals))
    for protocol in comparison.protocols:
        metrics = [metric for name, metric in comparison.columns if name == protocol]
        table = texts[protocol].unstack("metric").loc[comparison.backbones, metrics]
        markdown = table.to_markdown(tablefmt="github", disable_numparse=True)
        parts.append(f"### {protocol}\n\n{markdown}")
    parts.append(_legend(comparison))
    if comparison.notes:
        parts.append("\n".join(f"* {x}" for x in comparison.notes))
    return "\n\n".join(parts) + "\n"


def format_cell(cell, num_seeds, decimals=DECIMALS):
    """Return the text of a cell, such as "**38.92 ± 0.21** (+1.20) n=2"."""
    if not cell["n"]:
        return "–"
    text = f"{cell['mean']:.{decimals}f}"
    if not math.isnan(cell["sd"]):
        text += f" ± {cell['sd']:.{decimals}f}"
    if cell["best"]:
        text = f"**{text}**"
    if not math.isnan(cell["difference"]):
        text += f" ({cell['difference']:+.{decimals}f})"
    return text + (f" n={cell['n']}" if cell["n"] < num_seeds else "")


def _legend(comparison):
    if not comparison.protocols:
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
    texts = (markdown_report(comparison, decimals), csv_report(comparison), json_report(comparison))
    for suffix, text in zip(("md", "csv", "json"), texts):
        with atomic_file(folder / f"comparison.{suffix}") as file:
            file.write(text.encode())
