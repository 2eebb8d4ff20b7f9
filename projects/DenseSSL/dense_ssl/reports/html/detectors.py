"""Tables of what detectors reach, of all classes together and of each."""

import math
import os

from . import scores
from .configs import stated_weights
from .model import BarChart, Cell, Table
from .tables import entry_name, finite, number_cell, text_cell, without_common_folder

_ORDER = ("AP", "AP50", "AP75", "APs", "APm", "APl", "mIoU", "fwIoU", "mACC", "pACC")
_MOST_COLUMNS = 24
_CLASS_NOTE = "In percent. A dash: the evaluation gave no number, as where nothing is labelled."


def result_tables(runs, home):
    """Return a table for each task and data set, and one of its classes.

    Args:
        runs: list of :class:`~.model.Run`; those with scores are shown.
        home: folder that the starts of the detectors are named from.
    """
    tables = []
    for test_set in dict.fromkeys(_test_set(x) for x in runs if x.scores):
        chosen = [x for x in runs if x.scores and _test_set(x) == test_set]
        tables += _tables_of(chosen, home, f"Tested on {test_set}" if test_set else "")
    return tables


def _test_set(run):
    return ", ".join(map(entry_name, run.config.get("DATASETS.TEST") or ()))


def _tables_of(runs, home, note):
    parts = {name: scores.parse(name) for run in runs for name in run.scores}
    tables = []
    for task in dict.fromkeys(scores.title(x) for x in parts.values()):
        mine = {k: v for k, v in parts.items() if scores.title(v) == task}
        summary = sorted((k for k, v in mine.items() if v["score"]), key=lambda x: _place(mine[x]))
        if summary:
            columns = ["detector", "start", "backbone", "iterations", "seed"]
            columns += [mine[x]["score"] for x in summary]
            best = {x: max((r.scores.get(x, -math.inf) for r in runs), default=0) for x in summary}
            rows = [
                [*_facts(run, home), *(_score(run, x, best[x], len(runs)) for x in summary)]
                for run in runs
            ]
            tables.append(Table(f"Scores of {task}", columns, rows, note))
        classes = [k for k, v in mine.items() if v["class"]]
        if classes:
            kind = mine[classes[0]]["kind"]
            names = {x: mine[x]["class"] for x in classes}
            tables.append(_class_table(f"{kind} of each class, {task}", runs, names))
    return tables


def _class_table(title, runs, names):
    """Return a row per class and a column per detector; ``names`` is {score: class}."""
    shown = runs[:_MOST_COLUMNS]
    note = f" The first {len(shown)} of {len(runs)} detectors." * (len(shown) < len(runs))
    rows = [
        [text_cell(name), *(number_cell(run.scores.get(x), 1) for run in shown)]
        for x, name in names.items()
    ]
    columns = ["class", *without_common_folder([x.name for x in shown])]
    return Table(title, columns, rows, _CLASS_NOTE + note)


def _place(part):
    score = part["score"]
    return (_ORDER.index(score) if score in _ORDER else len(_ORDER), score)


def _facts(run, home):
    frozen = run.config.get("MODEL.FREEZE_BACKBONE")
    done = f"{run.iteration:,}" + ("" if run.state == "done" else f" of {run.length:,}")
    return [
        text_cell(run.name),
        text_cell(start_of(run, home)),
        text_cell("frozen" if frozen else "trained"),
        Cell(done, run.iteration),
        number_cell(run.config.get("SEED")),
    ]


def start_of(run, home):
    """Return what a detector started from: "random weights", or the path of its weights."""
    weights = stated_weights(run.folder)
    if not weights:
        return "random weights"
    inside = os.path.relpath(weights, home)
    return "/".join(weights.split("/")[-2:]) if inside.startswith("..") else inside


def _score(run, name, best, count):
    value = run.scores.get(name)
    return number_cell(value, 1, strong=count > 1 and value is not None and value == best)


def headline_chart(runs):
    """Return the headline scores of the data set that most runs share; None with fewer than two."""
    scored = [x for x in runs if any(map(scores.is_headline, x.scores))]
    if len(scored) < 2:
        return None
    sets = [_test_set(x) for x in scored]
    common = max(dict.fromkeys(sets), key=sets.count)
    rows = [
        {
            "name": x.name,
            "values": {k: finite(v) for k, v in x.scores.items() if scores.is_headline(k)},
        }
        for x in scored
        if _test_set(x) == common
    ]
    return BarChart(f"Tested on {common}" if common else "Scores", rows)
