"""The values that keys may have: one table, checked before a run touches anything.

What depends on several keys, or on the data, is checked where it is used.
"""

import math

import torch
from detectron2.config import CfgNode
from detectron2.modeling import (
    ANCHOR_GENERATOR_REGISTRY,
    BACKBONE_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_BOX_HEAD_REGISTRY,
    ROI_HEADS_REGISTRY,
    ROI_KEYPOINT_HEAD_REGISTRY,
    ROI_MASK_HEAD_REGISTRY,
    RPN_HEAD_REGISTRY,
    SEM_SEG_HEADS_REGISTRY,
)

from ..utils.checks import nearest, require_one_of, value_of
from . import detector_values, value_tables
from .defaults import refuse_none

# MODEL.DEVICE of every config that is loaded and does not state another: "cuda" if there is a GPU,
# else "cpu". (Not the default of the key: stock configs keep detectron2's.) Apple's "mps" is not
# chosen, because detectron2's RoIAlign does not run on it.
DETECT = "detect"
# Names of what has been registered; "" is detectron2's for "none". A proposal generator may be one
# that is none either.
_REGISTRIES = {
    "MODEL.BACKBONE.NAME": BACKBONE_REGISTRY,
    "MODEL.PROPOSAL_GENERATOR.NAME": PROPOSAL_GENERATOR_REGISTRY,
    "MODEL.ROI_HEADS.NAME": ROI_HEADS_REGISTRY,
    "MODEL.ROI_BOX_HEAD.NAME": ROI_BOX_HEAD_REGISTRY,
    "MODEL.ROI_MASK_HEAD.NAME": ROI_MASK_HEAD_REGISTRY,
    "MODEL.ROI_KEYPOINT_HEAD.NAME": ROI_KEYPOINT_HEAD_REGISTRY,
    "MODEL.SEM_SEG_HEAD.NAME": SEM_SEG_HEADS_REGISTRY,
    "MODEL.RPN.HEAD_NAME": RPN_HEAD_REGISTRY,
    "MODEL.ANCHOR_GENERATOR.NAME": ANCHOR_GENERATOR_REGISTRY,
}
_TABLES = (value_tables, detector_values)
_UNREGISTERED = ("", "PrecomputedProposals")


def check_values(cfg):
    """Raise ValueError, with key, value and what it may be, for the first key that is wrong."""
    _check_registered(cfg)
    for table in _TABLES:
        _check_ranges(cfg, table.RANGES)
    refuse_none(cfg)
    for table in _TABLES:
        _check_choices(cfg, table)
    for name, value in cfg.INPUT.VIEWS.items():
        if isinstance(value, (list, tuple)) and not value:
            raise ValueError(
                f"INPUT.VIEWS.{name} is empty; give one entry per view, or a single one for all."
            )
    detector_values.check_detector(cfg)
    if "?" in cfg.OUTPUT_DIR:
        raise ValueError(
            f"OUTPUT_DIR is {cfg.OUTPUT_DIR!r}; it must not have a question mark, which "
            "MODEL.WEIGHTS takes for the beginning of options."
        )
    _check_maps(cfg)
    _check_device(cfg.MODEL.DEVICE)


def _check_registered(cfg):
    for key, registry in _REGISTRIES.items():
        value = _present(cfg, key, "")
        if value not in _UNREGISTERED and value not in registry:
            names = sorted(x for x, _ in registry)
            raise ValueError(
                f"{key} is {value!r}, which is not registered.{nearest(value, names)} Correct the "
                "name or, if it is one of your own, name its module in IMPORTS. Registered are "
                f"{', '.join(names)}."
            )


def _check_ranges(cfg, table):
    for bounds, keys in table.items():
        for key in keys.split():
            _check_range(cfg, key, *bounds)


def _check_choices(cfg, table):
    for allowed, keys in table.CHOICES.items():
        for key in keys.split():
            require_one_of(key, _present(cfg, key, allowed[0]), allowed)
    for key in table.NAMES:
        value = _present(cfg, key, ())
        if not all(isinstance(x, str) for x in value):
            raise ValueError(f"{key} is {value!r}; it must be names, such as: {key} \"('a', 'b')\"")
    for key, counts in table.COUNTS.items():
        value = value_of(cfg, key)
        if len(value) not in counts:
            raise ValueError(f"{key} is {value!r}; it must have {max(counts)} numbers.")
    for key in table.FILLED:
        if not _present(cfg, key, (0,)):
            raise ValueError(f"{key} is empty; it must have at least one element.")


def _check_maps(cfg):
    maps = cfg.MODEL.RESNETS.OUT_FEATURES
    allowed = ("stem", "res2", "res3", "res4", "res5")
    wrong = [x for x in maps if x not in allowed] if "resnet" in cfg.MODEL.BACKBONE.NAME else []
    if wrong or not maps:
        raise ValueError(
            f"MODEL.RESNETS.OUT_FEATURES is {maps}; it must name maps of the backbone"
            + (f", and {wrong[0]!r} is none of {allowed}." if wrong else ": at least one.")
        )


def _check_device(name):
    try:
        torch.device("cpu" if name == DETECT else name)
    except RuntimeError as error:
        raise ValueError(
            f"MODEL.DEVICE is {name!r}; it must be 'cpu', 'cuda' or 'cuda:N', N being the number "
            "of a GPU."
        ) from error


def _check_range(cfg, key, low, high, excluded):
    value = _present(cfg, key, ())
    for x in _numbers(value):
        # also refuses NaN, None and text
        is_number = isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x)
        # what begins at 1 is counted
        is_number = is_number and (low != 1 or x == int(x))
        if not is_number or not low <= x <= high or excluded and x == low:
            raise ValueError(f"{key} is {value!r}; it must be {_in_words(low, high, excluded)}.")


def _numbers(value):
    if isinstance(value, (list, tuple)):
        return [x for y in value for x in _numbers(y)]
    return [value]


def _in_words(low, high, excluded):
    if excluded:
        return "above 0" if high == math.inf else f"above 0, and {high} at most"
    if high == math.inf:
        return "numbers" if low == -math.inf else f"{low} or more" + " and whole" * (low == 1)
    if 0.9 < high < 1:
        return "0 or more, and below 1"
    return f"{high} or less" if low == -math.inf else f"between {low} and {high}"


def _present(cfg, key, default):
    """Return the value of a key, ``default`` if the config does not have it."""
    node, _, name = key.rpartition(".")
    try:
        node = value_of(cfg, node) if node else cfg
    except KeyError:
        return default
    return node.get(name, default) if isinstance(node, CfgNode) else default
