"""The settings that determine the result of a run, to keep different runs apart."""

import functools
import hashlib
import json
import os
from pathlib import Path

import yaml
from detectron2.engine import DefaultTrainer
from detectron2.utils.file_io import PathManager

from ..config import default_config, load_config
from ..config.flat import FREE_KEYS, flatten, is_among
from ..modeling.meta_architecture import is_pretraining

WEIGHTS = "MODEL.WEIGHTS"
# Set for each run by the comparison.
OWN_KEYS = (WEIGHTS, "SEED", "OUTPUT_DIR")


def read_config(config_file, options, num_gpus=1):
    """Return the config of a detector's run as train_net.py will read it.

    Args:
        config_file: yaml of a protocol.
        options: list of keys and values.
        num_gpus: only used with SOLVER.REFERENCE_WORLD_SIZE, which rescales the schedule.

    Raises:
        ValueError: not a valid config, not of fine-tuning, or without an evaluation.
    """
    cfg = _read(config_file, options, num_gpus)
    if is_pretraining(cfg):
        raise ValueError(
            f"{config_file} is a config of pre-training (MODEL.META_ARCHITECTURE "
            f"{cfg.MODEL.META_ARCHITECTURE!r}): give one that fine-tunes."
        )
    if not cfg.DATASETS.TEST:
        raise ValueError(f"{config_file}: DATASETS.TEST is empty, so there would be no result.")
    return cfg


def read_pretraining_config(config_file, options, num_gpus=1):
    """Return the config of a pre-training; arguments and errors as in :func:`read_config`."""
    cfg = _read(config_file, options, num_gpus)
    if not is_pretraining(cfg):
        raise ValueError(
            f"{config_file} is no config of pre-training (MODEL.META_ARCHITECTURE "
            f"{cfg.MODEL.META_ARCHITECTURE!r}): as a backbone give a yaml that pre-trains, weights "
            "or 'random'."
        )
    return cfg


def _read(config_file, options, num_gpus):
    try:
        cfg = load_config(str(config_file), options)
    except (AssertionError, ImportError, KeyError, OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{config_file} with {' '.join(options)}: {error}") from error
    return DefaultTrainer.auto_scale_workers(cfg, max(num_gpus, 1))


def run_settings(cfg):
    """Return all settings of a run that may change its result.

    Args:
        cfg: result of :func:`read_config` or :func:`read_pretraining_config`.

    Returns:
        {"SOLVER.MAX_ITER": 90000, ...}, as json reads them; MODEL.WEIGHTS is the fingerprint.
    """
    settings = {key: value for key, value in flatten(cfg) if not is_among(key, FREE_KEYS)}
    settings[WEIGHTS] = fingerprint(cfg.MODEL.WEIGHTS)
    return json.loads(json.dumps(settings))


def flat_defaults():
    """Return {key: default} of all keys, as json reads them."""
    return json.loads(json.dumps(dict(flatten(default_config()))))


def fingerprint(path):
    """Return "sha256:..." of a weights file, and the options after a "?"; "" without a file."""
    if not path:
        return ""
    name, mark, options = path.partition("?")
    local = PathManager.get_local_path(name)
    state = os.stat(local)
    return f"sha256:{_sha256(local, state.st_size, state.st_mtime_ns)}{mark}{options}"


@functools.cache
def _sha256(path, *_):  # size and time: a file that has changed is read again
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def differences(old, new, ignore=()):
    """Return how two results of :func:`run_settings` differ.

    They may be from different versions of the code: a missing key counts as its default.

    Args:
        old, new: settings. ignore: keys that may differ.

    Returns:
        ["KEY: old value, now new value", ...].
    """
    defaults = flat_defaults()
    lines = []
    for key in sorted(x for x in {*old, *new} if x not in ignore and not is_among(x, FREE_KEYS)):
        before, after = (x.get(key, defaults.get(key)) for x in (old, new))
        # as json, because NaN != NaN
        if before != after and json.dumps(before) != json.dumps(after):
            lines.append(f"{key}: {before!r}, now {after!r}")
    return lines
