"""Collecting and writing a report."""

import logging
import os
import time
from pathlib import Path

from ...utils.atomic_file import atomic_file
from . import analyses, comparisons, curves, detectors, folders, overview, pictures
from .configs import read_flat_config, starts_from, stated_weights
from .data import read_data_sets
from .details import read_details
from .model import Report
from .render import render
from .run import read_run
from .settings import settings_table

logger = logging.getLogger(__name__)

REPORT = "report.html"
_MOST_DETAILS = 12  # runs with data and commands, and with pictures


def write_report(places, path=None):
    """Write the report of runs, finished or not.

    Args:
        places: OUTPUT_DIRs, or folders that hold runs.
        path: HTML file; default: REPORT in the folder that all places share.

    Returns:
        Path of the file.

    Raises:
        FileNotFoundError: no run lies there.
        ImportError: jinja2 or plotly is not installed.
    """
    places = [Path(os.path.abspath(x)) for x in places]
    if path is None:
        path = Path(os.path.commonpath(places)) / REPORT
    text = render(collect(places))
    with atomic_file(path) as file:
        file.write(text.encode("utf-8", errors="replace"))
    return Path(path)


def collect(places):
    """Return the :class:`~.model.Report` of folders."""
    found = list(dict.fromkeys(x for place in places for x in folders.find_runs(place)))
    found_comparisons = folders.find_comparisons(places)
    if not found and not found_comparisons:
        raise FileNotFoundError(
            f"No run lies in {', '.join(map(str, places))}: the folder of a run has config.yaml, "
            "log.txt and, from its 20th iteration on, metrics.json."
        )
    home = Path(os.path.commonpath([folders.home(x) for x in places]))
    runs = [read_run(x, os.path.relpath(x, home)) for x in found]
    runs.sort(key=lambda x: (not x.is_pretraining, x.name))
    tested = [x for x in runs if not x.is_pretraining]
    tested += [read_run(x, os.path.relpath(x, home)) for x in _detectors_beside(places, runs)]
    return Report(
        title=runs[0].name if len(runs) == 1 else home.name,
        written=time.strftime("%Y-%m-%d %H:%M"),
        facts=overview.facts(runs[0]) if len(runs) == 1 else [],
        overview=overview.overview_table(runs),
        results=detectors.result_tables(tested, home),
        result_chart=detectors.headline_chart(tested),
        comparisons=[x for x in map(comparisons.read_comparison, found_comparisons) if x],
        groups=curves.groups(runs),
        galleries=_galleries(runs, places),
        analyses=analyses.find_analyses(_places_of_analyses(runs, places)),
        settings=_settings(runs),
        details=[read_details(x) for x in runs[:_MOST_DETAILS]],
        data=read_data_sets(runs),
        notes=_notes(runs),
    )


def _detectors_beside(places, runs):
    """Return the folders of detectors beside the given runs that share their start.

    Those from a backbone among the runs, from the same weights as a detector among them, and, for
    comparison, those from random weights that were tested on the same images.
    """
    known = {x.folder for x in runs}
    homes = dict.fromkeys(folders.home(x) for x in places if folders.is_run(x))
    beside = [x for home in homes for x in folders.find_runs(home) if x not in known]
    backbones = [x.folder for x in runs if x.is_pretraining]
    weights = {stated_weights(x.folder) for x in runs if not x.is_pretraining} - {""}
    starts = {x: stated_weights(x) for x in beside}
    related = [
        x for x in beside
        if starts[x] in weights or any(starts_from(x, y) for y in backbones)
    ]  # fmt: skip
    detectors_here = [x.config for x in runs if not x.is_pretraining]
    configs = [*detectors_here, *map(read_flat_config, related)]
    sets = [x.get("DATASETS.TEST") for x in configs]
    random = [
        x for x in beside
        if sets and not starts[x] and read_flat_config(x).get("DATASETS.TEST") in sets
    ]  # fmt: skip
    return related + random


def _galleries(runs, places):
    pretrainings = [x for x in runs if x.is_pretraining][:_MOST_DETAILS]
    found = [pictures.views_gallery(x) for x in pretrainings]
    found += [pictures.folder_gallery(x) for x in places if not folders.is_run(x)]
    return [x for x in found if x]


def _places_of_analyses(runs, places):
    named = {x: "" for x in places if not folders.is_run(x)}
    return {**named, **{x.folder: x.name if len(runs) > 1 else "" for x in runs}}


def _settings(runs):
    kinds = {True: "Pre-training", False: "Detectors"}
    tables = [
        settings_table(title, [x for x in runs if x.is_pretraining == kind])
        for kind, title in kinds.items()
    ]
    return [x for x in tables if x.rows]


def _notes(runs):
    if len(runs) <= _MOST_DETAILS:
        return []
    return [f"Data, commands and pictures: those of the first {_MOST_DETAILS} runs."]
