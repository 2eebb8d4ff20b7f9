"""run.json: what a run was started with. The report shows it; nothing else depends on it."""

import json
import os
import shlex
import sys
import time
from pathlib import Path

from ..utils.atomic_file import atomic_file
from ..utils.json_file import read_object
from .run_origin import run_origin

RECORD = "run.json"
_TIME = "%Y-%m-%d %H:%M:%S"


def record_start(folder, iteration, device, processes, data):
    """Add a start to the RECORD of a run.

    Args:
        folder: OUTPUT_DIR.
        iteration: where the run starts; 0 begins a new record.
        device: in words. processes: their number.
        data: {"train": entries, "test": entries, "images": number, "objects": {class: number},
            "checks": list of checks of data sets, as ``DataCheck.as_dict`` gives them}.
    """
    record = read_record(folder) if iteration else {}
    start = {
        "time": time.strftime(_TIME),
        "iteration": iteration,
        "command": " ".join(["python", *map(quoted, sys.argv)]),
        "folder": os.getcwd(),
        "device": device,
        "processes": processes,
        **run_origin(),
    }
    record = {"starts": [*record.get("starts", []), start], "data": data}
    with atomic_file(Path(folder) / RECORD) as file:
        file.write((json.dumps(record, indent=1) + "\n").encode())


def read_record(folder):
    """Return the RECORD of a run, {} without one or where it is not whole."""
    return read_object(Path(folder) / RECORD)


def last_start(record):
    """Return the time of the last start in a RECORD, in seconds since the epoch; 0 without one."""
    try:
        return time.mktime(time.strptime(record["starts"][-1]["time"], _TIME))
    except (KeyError, IndexError, TypeError, ValueError):
        return 0.0


def quoted(word):
    """Return a word of a command for a shell: in double quotes, where it has single ones."""
    if "'" in word and not set('"$`\\!') & set(word):
        return f'"{word}"'
    return shlex.quote(word)
