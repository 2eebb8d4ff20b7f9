"""The settings that networks of other projects were trained with, as detectron2's config keys.

Pixels are in 0..255 here, as everywhere in detectron2: a torchvision normalisation is given times
255. Every project below has the stride in its 3x3 convolutions and trains its batch norms.
"""

import re

from detectron2.config import get_cfg

from ...modeling.backbone_keys import value_of
from ..handover import COLOUR_KEYS

FORMAT, MEAN, STD = COLOUR_KEYS
STRIDE = "MODEL.RESNETS.STRIDE_IN_1X1"
NORM = "MODEL.RESNETS.NORM"
# What a user may state where a file cannot.
STATED_KEYS = (*COLOUR_KEYS, STRIDE, NORM)

_PYTORCH = {STRIDE: False, NORM: "BN"}
IMAGENET = {
    FORMAT: "RGB", MEAN: [123.675, 116.28, 103.53], STD: [58.395, 57.12, 57.375], **_PYTORCH,
}  # fmt: skip
# SwAV's data set divides red by 0.228 where everyone else has 0.229.
SWAV = {**IMAGENET, STD: [58.14, 57.12, 57.375]}
# ToTensor alone, values from 0 to 1: SimCLR's code and the ports that follow it.
UNIT_RANGE = {FORMAT: "RGB", MEAN: [0.0, 0.0, 0.0], STD: [255.0, 255.0, 255.0], **_PYTORCH}
# The layers are PyTorch's, but what the images were divided by is not known.
PYTORCH = {FORMAT: "RGB", **_PYTORCH}
# Caffe2's and MSRA's ResNets of detectron2's model zoo; norms are folded into scale and bias.
MSRA = {
    FORMAT: "BGR", MEAN: [103.53, 116.28, 123.675], STD: [1.0, 1.0, 1.0],
    STRIDE: True, NORM: "FrozenBN",
}  # fmt: skip
# ResNeXts of the same zoo (X-101-32x8d) have these instead.
CAFFE2_RESNEXT = {**MSRA, STD: [57.375, 57.12, 58.395], STRIDE: False}
UNKNOWN = {}

_NUMBERS = r"\[\s*([\d.]+)\s*,\s*([\d.]+)\s*,\s*([\d.]+)\s*\]"


def openmmlab_settings(checkpoint):
    """What the config text in an OpenMMLab checkpoint says beyond its defaults.

    Args:
        checkpoint: content of the file; ``meta`` may hold the text under ``config`` or ``cfg``.

    Returns:
        {config key: value} to put over IMAGENET; {} where there is no text or it is ambiguous.
    """
    meta = checkpoint.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    text = meta.get("config") or meta.get("cfg")
    if not isinstance(text, str):
        return {}
    found = {}
    for key, name in ((MEAN, "mean"), (STD, "std")):
        values = {tuple(map(float, x)) for x in re.findall(rf"\b{name}\s*=\s*{_NUMBERS}", text)}
        if len(values) == 1:
            (value,) = values
            # some configs normalise tensors of 0..1, others pixels; a std of 1 is of pixels
            scale = 255.0 if max(value) < 0.9 else 1.0
            found[key] = [round(x * scale, 4) for x in value]
    to_rgb = set(re.findall(r"\b(?:bgr_)?to_rgb\s*=\s*(True|False)", text))
    if len(to_rgb) == 1:
        found[FORMAT] = "RGB" if to_rgb == {"True"} else "BGR"
    styles = set(re.findall(r"style\s*=\s*['\"](pytorch|caffe)['\"]", text))
    if len(styles) == 1:
        found[STRIDE] = styles == {"caffe"}
    return found


def check_stated(pairs):
    """Settings that a user states, as a dict of plain values.

    Args:
        pairs: [key, value, key, value, ...] of the command line, values as text or Python objects.

    Raises:
        ValueError: a key that weights do not depend on, or a value of the wrong kind.
    """
    if len(pairs) % 2:
        raise ValueError(f"Settings are pairs of a key and a value; {pairs[-1]!r} has no partner.")
    for key in pairs[::2]:
        if key not in STATED_KEYS:
            raise ValueError(f"{key} cannot be stated of weights; these can: {STATED_KEYS}.")
    cfg = get_cfg()
    try:
        cfg.merge_from_list([str(x) for x in pairs])
    except Exception as error:  # yacs asserts, evaluates and converts: each has errors of its own
        raise ValueError(f"A value among {pairs} does not suit its key: {error}") from error
    stated = {key: value_of(cfg, key) for key in pairs[::2]}
    if stated.get(FORMAT, "RGB") not in ("RGB", "BGR"):
        raise ValueError(f"INPUT.FORMAT is {stated[FORMAT]!r}: only RGB and BGR are known.")
    for key in (MEAN, STD):
        if len(stated.get(key, "abc")) != 3:
            raise ValueError(f"{key} needs three values, one per channel.")
    return stated
