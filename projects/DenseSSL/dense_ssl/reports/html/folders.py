"""Which folders belong to a report: runs, the detectors beside them, comparisons."""

import os
from pathlib import Path

COMPARISON = "comparison.json"
_DEPTH = 5  # of runs below a folder; a comparison has PROTOCOL/NAME/BACKBONE/seedK
_MOST_FOLDERS = 5000  # that are looked at
_ANCESTORS = 4  # that are looked at for a comparison
# Parts of a run or of a data set: no run lies below them.
_NO_RUNS = {"pictures", "inference", "analyses", "wandb", "mlruns"}


def is_run(folder):
    """Return True if a folder is the OUTPUT_DIR of a run that has begun."""
    files = {x: (Path(folder) / x).is_file() for x in ("metrics.json", "config.yaml", "log.txt")}
    return files["metrics.json"] or (files["config.yaml"] and files["log.txt"])


def find_runs(folder):
    """Return the runs in and below a folder, sorted; hidden folders are left out.

    Args:
        folder: OUTPUT_DIR of a run, or a folder that holds runs.
    """
    found, level, seen = [], [Path(folder)], 0
    for _ in range(_DEPTH + 1):
        below = []
        for place in level:
            found += [place] if is_run(place) else []
            seen += 1
            if seen <= _MOST_FOLDERS:
                below += _subfolders(place)
        level = below
    return sorted(found)


def _subfolders(folder):
    try:
        with os.scandir(folder) as entries:
            return [
                Path(x.path)
                for x in entries
                if x.name not in _NO_RUNS
                and not x.name.startswith(".")
                and x.is_dir(follow_symlinks=False)
            ]
    except OSError:  # not readable
        return []


def find_comparisons(folders):
    """Return the comparison.json in the folders, and the one that a run of them is part of."""
    found = []
    for folder in map(Path, folders):
        places = [folder, *folder.parents[:_ANCESTORS]] if is_run(folder) else [folder]
        found += [x / COMPARISON for x in places if (x / COMPARISON).is_file()][:1]
    return list(dict.fromkeys(found))


def home(place):
    """Return the folder that holds what belongs together with a run, or with a folder of runs.

    It is that of the run's comparison, else the one that the run lies in; a folder of runs is its
    own.
    """
    comparisons = find_comparisons([place])
    if is_run(place):
        return comparisons[0].parent if comparisons else Path(place).parent
    return Path(place)
