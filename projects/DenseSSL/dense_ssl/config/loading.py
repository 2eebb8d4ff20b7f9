"""Loading a config: first the modules that it names in IMPORTS, then its keys."""

import torch
from detectron2.config import get_cfg

from .defaults import default_config
from .layers import is_trusted

# MODEL.DEVICE of every config that is loaded and does not state another: "cuda" if there is a GPU,
# else "cpu". (Not the default of the key: stock configs keep detectron2's.) Apple's "mps" is not
# chosen, because detectron2's RoIAlign does not run on it.
DETECT = "detect"
# INPUT.MASK_FORMAT of every config that is loaded and does not state it: fine-tuning then takes
# "bitmask" if a mask of its data is an RLE, else detectron2's default.
AUTO = "auto"


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
        ValueError: a yaml has a tag that runs code, and TRUST_CONFIGS is not True.
    """
    cfg = default_config()
    cfg.MODEL.DEVICE, cfg.INPUT.MASK_FORMAT = DETECT, AUTO
    cfg.TRUST_CONFIGS = is_trusted(list(options))
    try:
        if config_file:
            cfg.merge_from_file(config_file)
        cfg.merge_from_list(list(options))
    except (KeyError, AssertionError) as error:  # yacs raises both for keys that do not exist
        if "Non-existent" not in str(error):
            raise
        raise KeyError(
            f"{error.args[0]}. Correct the key or, if it belongs to an objective of your own, name "
            "the objective's module in IMPORTS."
        ) from error
    return cfg
