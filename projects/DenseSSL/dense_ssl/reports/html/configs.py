"""The config.yaml of runs, and what it says of where a run started."""

import functools
import os
from pathlib import Path

import yaml

from ...config.flat import flatten


def read_flat_config(folder):
    """Return {key: value} of the config.yaml of a run; {} if it is not readable."""
    path = Path(folder) / "config.yaml"
    try:
        return _read(path, path.stat().st_mtime_ns)
    except (OSError, AttributeError, ValueError, yaml.YAMLError):
        return {}


@functools.lru_cache(maxsize=1000)
def _read(path, _):
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return dict(flatten(yaml.load(path.read_text(encoding="utf-8"), loader) or {}))


def stated_weights(folder):
    """Return the file that MODEL.WEIGHTS of a run names, "" for random weights.

    The path is that of the training. Where it leads nowhere, because the folders were moved or the
    path was relative, it is taken from the run's folder as it lay from its OUTPUT_DIR.
    """
    config = read_flat_config(folder)
    weights = str(config.get("MODEL.WEIGHTS") or "").partition("?")[0]
    if not weights or "://" in weights or os.path.exists(weights):
        return weights
    here = os.path.relpath(weights, config.get("OUTPUT_DIR") or ".")
    moved = os.path.normpath(os.path.join(folder, here))
    return moved if os.path.exists(moved) else weights


def starts_from(folder, run):
    """Return True if MODEL.WEIGHTS of ``folder`` is a file of the run ``run``."""
    weights = stated_weights(folder)
    return bool(weights) and Path(weights).resolve().parent == Path(run).resolve()
