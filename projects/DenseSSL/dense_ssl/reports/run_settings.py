"""The settings that decide what a fine-tuning run scores, so that no two are mixed up."""

import functools
import hashlib
import json
import os

import yaml
from detectron2.config import get_cfg
from detectron2.engine import DefaultTrainer
from detectron2.utils.file_io import PathManager

from ..config import add_dense_ssl_config
from ..engine.setup import is_pretraining

WEIGHTS = "MODEL.WEIGHTS"
# What a comparison sets for each run itself.
OWN_KEYS = (WEIGHTS, "SEED", "OUTPUT_DIR")
# What changes no result: they may differ between two parts of a run, and between runs.
FREE_KEYS = (
    "DATALOADER.NUM_WORKERS",
    "OUTPUT_DIR",
    "SOLVER.CHECKPOINT_PERIOD",
    "TUNE_ALLOCATOR",
    "VIS_PERIOD",
)


def read_config(config_file, options, num_gpus=1):
    """The config of a run as train_net.py will read it.

    Args:
        config_file: yaml of a protocol.
        options: list of keys and values.
        num_gpus: matters only with SOLVER.REFERENCE_WORLD_SIZE, which rescales the schedule.

    Returns:
        config.

    Raises:
        ValueError: the file or the options are no fine-tuning config that is evaluated.
    """
    cfg = _defaults()
    try:
        cfg.merge_from_file(str(config_file))
        cfg.merge_from_list(list(options))
    except (AssertionError, KeyError, OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{config_file} with {' '.join(options)}: {error}") from error
    if is_pretraining(cfg):
        raise ValueError(
            f"{config_file} is a config of pre-training (MODEL.META_ARCHITECTURE "
            f"{cfg.MODEL.META_ARCHITECTURE!r}): give one that fine-tunes."
        )
    if not cfg.DATASETS.TEST:
        raise ValueError(f"{config_file}: DATASETS.TEST is empty, so there would be no result.")
    return DefaultTrainer.auto_scale_workers(cfg, max(num_gpus, 1))


def run_settings(cfg):
    """All settings of a run that may change its result.

    Args:
        cfg: result of :func:`read_config`.

    Returns:
        {"SOLVER.MAX_ITER": 90000, ...}, plain values; MODEL.WEIGHTS is the file's fingerprint.
    """
    settings = dict(_flatten(cfg))
    for key in FREE_KEYS:
        del settings[key]
    settings[WEIGHTS] = fingerprint(cfg.MODEL.WEIGHTS)
    return json.loads(json.dumps(settings))  # as they will be read again: no tuples


def fingerprint(path):
    """What tells weights from others: "sha256:...", and the options behind a "?"; "" for none."""
    if not path:
        return ""
    name, mark, options = path.partition("?")
    local = PathManager.get_local_path(name)
    state = os.stat(local)
    return f"sha256:{_sha256(local, state.st_size, state.st_mtime_ns)}{mark}{options}"


@functools.cache
def _sha256(path, *state):
    del state  # only so that a file that has changed is read again
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def differences(saved, wanted, but_for=()):
    """How two results of :func:`run_settings` differ.

    A key that only one of them has, because it was made by another version of the code, counts as
    having its default there.

    Args:
        saved, wanted: settings. but_for: keys that may differ.

    Returns:
        ["KEY: old value, now new value", ...].
    """
    defaults = json.loads(json.dumps(dict(_flatten(_defaults()))))
    lines = []
    for key in sorted({*saved, *wanted} - {*but_for, *FREE_KEYS}):
        old, new = (x.get(key, defaults.get(key)) for x in (saved, wanted))
        # through json, where NaN and 1.0 == 1 are no differences
        if json.dumps(old) != json.dumps(new) and old != new:
            lines.append(f"{key}: {_short(old)}, now {_short(new)}")
    return lines


def _short(value):
    if isinstance(value, str) and value.startswith("sha256:"):
        return value[:19] + "..."
    return repr(value)


def _defaults():
    cfg = get_cfg()
    add_dense_ssl_config(cfg)
    return cfg


def _flatten(node, prefix=""):
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
