"""The config of a name in configs/, a path, the folder of a run, or a config that is given."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from fvcore.common.config import CfgNode

from .loading import read_config

# Where configs/ is: in an installed package, and in a checkout (also after pip install -e).
_PLACES = (Path(__file__).parents[1] / "configs", Path(__file__).parents[4] / "configs")


def get_config(config, overrides=None):
    """Return a config that can be changed.

    Args:
        config: the name of a yaml in configs/ ("mini/pretrain/scrl_R_18"), the path of a yaml, the
            folder of a run, or a config.
        overrides: {key: value} on top.

    Returns:
        detectron2 CfgNode. MODEL.DEVICE is "detect" unless it is stated.

    Raises:
        FileNotFoundError: no such yaml; the message lists similar names.
        KeyError: a key does not exist.
        TypeError: ``config`` or ``overrides`` is something else.
    """
    options = as_options(overrides)
    if isinstance(config, (str, os.PathLike)):
        return read_config(yaml_of(os.fspath(config)), options)
    if not isinstance(config, CfgNode):
        raise TypeError(
            f"{config!r} is no config: give the name or the path of a yaml, the folder of a run, "
            "or what get_config returned."
        )
    cfg = config.clone()
    cfg.defrost()
    cfg.merge_from_list(options)
    return cfg


def is_run(config):
    """Return True if a config is named by the folder of a run."""
    return isinstance(config, (str, os.PathLike)) and os.path.isfile(
        os.path.join(config, "config.yaml")
    )


def yaml_of(name):
    """Return the yaml of a name, a path or the folder of a run."""
    if is_run(name):
        return os.path.join(name, "config.yaml")
    if os.path.isfile(name):
        return name
    folder = next((x for x in _PLACES if x.is_dir()), None)
    if folder is None:
        raise FileNotFoundError(f"there is no file {name!r}, and no configs/ beside the package.")
    path = folder / (name if name.endswith(".yaml") else f"{name}.yaml")
    if path.is_file():
        return str(path)
    names = [x.relative_to(folder).with_suffix("").as_posix() for x in folder.rglob("*.yaml")]
    words = set(name.replace(".yaml", "").replace("/", "_").split("_"))
    near = sorted(names, key=lambda x: -len(words & set(x.replace("/", "_").split("_"))))[:5]
    raise FileNotFoundError(
        f"there is no config {name!r}, neither as a path nor in {folder}. Similar names there: "
        f"{', '.join(near)}."
    )


def as_options(overrides):
    """Return ["A.B", 1] for {"A.B": 1}: as on the command line."""
    overrides = {} if overrides is None else overrides
    if not isinstance(overrides, Mapping) or not all(isinstance(x, str) for x in overrides):
        raise TypeError(
            f'{overrides!r}: keys to change are a dict, such as {{"SOLVER.IMS_PER_BATCH": 8}}.'
        )
    return [x for key, value in overrides.items() for x in (key, _plain(value))]


def _plain(value):
    """Numbers and arrays of numpy and paths as the types that a yaml can hold."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value
