"""A comparison as markdown, csv and json."""

import json
import math

from tabulate import tabulate

from ..utils.atomic_file import atomic_file
from .comparison import CONFIDENCE

DECIMALS = 2


def markdown_report(comparison, decimals=DECIMALS):
    """Return a table per protocol, with a row per backbone and a column per metric, and the notes.

    Args:
        comparison: :class:`~.comparison.Comparison`.
        decimals: digits after the point.
    """
    parts = []
    for protocol in comparison.protocols:
        metrics = [metric for name, metric in comparison.columns if name == protocol]
        rows = [
            [name, *(format_cell(comparison, (protocol, x, name), decimals) for x in metrics)]
            for name in comparison.backbones
        ]
        table = tabulate(rows, ["backbone", *metrics], "github", disable_numparse=True)
        parts.append(f"### {protocol}\n\n{table}")
    parts.append(_legend(comparison))
    if comparison.notes:
        parts.append("\n".join(f"* {x}" for x in comparison.notes))
    return "\n\n".join(parts) + "\n"


def format_cell(comparison, key, decimals=DECIMALS):
    """Return the text of a cell, such as "38.92 ± 0.21 (**+1.20 ± 0.43**)".

    Differences without an interval are left out: one pair of runs shows nothing.

    Args:
        comparison: :class:`~.comparison.Comparison`. key: (protocol, metric, backbone).
        decimals: digits after the point.
    """
    cell, num_seeds = comparison.cells.loc[key], len(comparison.scores)
    n, backbone = int(cell["n"]), key[-1]
    if not n:
        return "–"
    text = f"{cell['mean']:.{decimals}f}{_half(cell, decimals)}"
    if n < num_seeds:
        text += f" n={n}"
    if n == 1:
        return text + ("" if num_seeds == 1 else ", no interval")
    shown = []
    for number, reference in enumerate(comparison.references):
        if backbone in comparison.references[: number + 1]:
            shown.append("–")  # itself, or already shown in the other reference's row
            continue
        change = comparison.differences[reference].loc[key]
        part = f"{change['mean']:+.{decimals}f}{_half(change, decimals)}"
        part += f" n={int(change['n'])}" if change["n"] < n else ""  # seeds that both have
        excludes_zero = change["low"] > 0 or change["high"] < 0
        no_interval = math.isnan(change["low"])
        shown.append("no interval" if no_interval else f"**{part}**" if excludes_zero else part)
    return text + (f" ({', '.join(shown)})" if set(shown) - {"–"} else "")


def _half(cell, decimals):
    """Return " ± 0.43", half the length of an interval; "" without one."""
    half = (cell["high"] - cell["low"]) / 2
    return "" if math.isnan(half) else f" ± {half:.{decimals}f}"


def _legend(comparison):
    if not comparison.protocols:
        return "No results yet."
    seeds = list(comparison.scores.index)
    if len(seeds) == 1:
        return f"Seed {seeds[0]} alone: no interval, so no difference is shown."
    text = (
        f"Mean ± half of its {CONFIDENCE:.0%} interval (Student's t over the seeds "
        f"{', '.join(map(str, seeds))}; not the standard deviation)"
    )
    if len(comparison.backbones) > 1:
        names = " and ".join(map(repr, comparison.references))
        text += (
            f"; in brackets: the difference to {names} with its interval, paired by seed; bold: "
            "its interval does not include 0, which for one difference in twenty happens by chance"
        )
    return text + "."


def csv_report(comparison):
    """Return a line per cell: its statistics, its differences, and the value of each seed."""
    table = comparison.cells
    for reference, cells in comparison.differences.items():
        table = table.join(cells.add_prefix(f"minus_{reference}_"))
    return table.join(comparison.scores.T.add_prefix("seed")).to_csv(lineterminator="\n")


def json_report(comparison, trainings=(), correlations=()):
    """Return the comparison as json; null instead of NaN.

    Args:
        comparison: :class:`~.comparison.Comparison`.
        trainings: list of :class:`~.comparison_record.Training`, for the commit, the versions and
            the command of each.
        correlations: result of :func:`~.rank_correlation.probe_correlations`.
    """
    protocols = {}
    for (protocol, metric, backbone), cell in comparison.cells.iterrows():
        key = protocol, metric, backbone
        values = comparison.scores[key].dropna()
        entry = _statistics(cell)
        entry["differences"] = {
            name: _statistics(x.loc[key]) for name, x in comparison.differences.items()
            if backbone != name
        }  # fmt: skip
        entry["values"] = {str(seed): value for seed, value in values.items()}
        protocols.setdefault(protocol, {}).setdefault(metric, {})[backbone] = entry
    report = {
        "backbones": comparison.backbones,
        "references": comparison.references,
        "seeds": comparison.scores.index.tolist(),
        "confidence": CONFIDENCE,
        "interval": "Student's t over the seeds; differences are paired by seed",
        "protocols": protocols,
        "correlations": list(correlations),
        "notes": comparison.notes,
        "trainings": [_provenance(x) for x in trainings if x.origins],
    }
    return json.dumps(report, indent=1, allow_nan=False) + "\n"


def _statistics(cell):
    mean, sd, low, high = (None if math.isnan(cell[x]) else cell[x]
                           for x in ("mean", "sd", "low", "high"))  # fmt: skip
    interval = None if low is None else [low, high]
    return {"n": int(cell["n"]), "mean": mean, "sd": sd, "interval": interval}


def _provenance(training):
    keys = ("backbone", "seed", "config_file", "options", "origins")
    return {"name": str(training), **{key: getattr(training, key) for key in keys}}


def write_reports(comparison, folder, trainings=(), correlations=(), decimals=DECIMALS):
    """Write comparison.md, comparison.csv and comparison.json."""
    texts = {
        "md": markdown_report(comparison, decimals),
        "csv": csv_report(comparison),
        "json": json_report(comparison, trainings, correlations),
    }
    for suffix, text in texts.items():
        with atomic_file(folder / f"comparison.{suffix}") as file:
            file.write(text.encode())


def commits_note(trainings):
    """Return which commits the trainings ran on, "" if none is known."""
    commits = {}
    for origin in (x for training in trainings for x in training.origins):
        if "commit" in origin:
            text = origin["commit"][:12] + (" with uncommitted changes" if origin["dirty"] else "")
            commits[text] = None
    return f"run on commit {', '.join(commits)}" if commits else ""
