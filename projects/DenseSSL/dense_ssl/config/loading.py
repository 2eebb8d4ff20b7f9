"""Loading a config: first the modules that it names in IMPORTS, then its keys."""

import torch
from detectron2.config import get_cfg

from ..data.finetune.label_space import AUTO
from .defaults import default_config
from .faults import reworded
from .layers import is_trusted
from .values import DETECT


def load_config(config_file="", options=()):
    """Return the config of a yaml with ``KEY VALUE`` pairs on top, its device detected.

    Arguments and errors as in :func:`read_config`.

    Returns:
        config, not frozen. MODEL.DEVICE is the one stated, else "cuda" if there is a GPU, or "cpu".
    """
    cfg = read_config(config_file, options)
    detect_device(cfg)
    if cfg.INPUT.MASK_FORMAT == AUTO:
        cfg.INPUT.MASK_FORMAT = get_cfg().INPUT.MASK_FORMAT
    return cfg


def detect_device(cfg):
    """Replace a MODEL.DEVICE of DETECT, in place; return True if it was that."""
    if cfg.MODEL.DEVICE != DETECT:
        return False
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    return True


def read_config(config_file="", options=()):
    """Return the config of a yaml with ``KEY VALUE`` pairs on top; MODEL.DEVICE may be DETECT.

    The modules that the yaml, its ``_BASE_`` and the options name in IMPORTS are imported before
    their other keys are read. They may register objectives, whose keys are then known,
    META_ARCHITECTUREs, backbones and data sets.

    Args:
        config_file: yaml; "" for the defaults.
        options: keys and values in turn, as on the command line.

    Returns:
        config, not frozen; INPUT.MASK_FORMAT may be AUTO. Its IMPORTS lists all modules, files by
        their absolute paths.

    Raises:
        ImportError: a module of IMPORTS does not exist.
        KeyError: a key does not exist.
        ValueError: a value has the wrong type, a yaml is none, or it has a tag that runs code and
            TRUST_CONFIGS is not True.
    """
    cfg = default_config()
    cfg.MODEL.DEVICE, cfg.INPUT.MASK_FORMAT = DETECT, AUTO
    cfg.TRUST_CONFIGS = is_trusted(list(options))
    if config_file:
        with reworded(cfg, config_file):
            cfg.merge_from_file(config_file)
    with reworded(cfg, "the command line"):
        cfg.merge_from_list(list(options))
    return cfg
