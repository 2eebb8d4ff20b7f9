"""The settings that networks of other projects were trained with, as detectron2's config keys.

Pixels are in 0..255, as everywhere in detectron2: torchvision's normalisation times 255. All
projects except Caffe2's have the stride in the 3x3 convolutions and train their batch norms.
"""

import re

from detectron2.config import get_cfg

from ...utils.checks import value_of
from ..handover import COLOUR_KEYS

FORMAT, MEAN, STD = COLOUR_KEYS
STRIDE, NORM = "MODEL.RESNETS.STRIDE_IN_1X1", "MODEL.RESNETS.NORM"
# What a user may state where a file does not say it.
STATED_KEYS = (*COLOUR_KEYS, STRIDE, NORM)

# The layers are PyTorch's, but how the images were normalised is not known.
PYTORCH = {FORMAT: "RGB", STRIDE: False, NORM: "BN"}
IMAGENET = {**PYTORCH, MEAN: [123.675, 116.28, 103.53], STD: [58.395, 57.12, 57.375]}
# SwAV's data set divides red by 0.228; all others divide it by 0.229.
SWAV = {**IMAGENET, STD: [58.14, 57.12, 57.375]}
# ToTensor alone, values from 0 to 1: SimCLR's code and the ports that follow it.
UNIT_RANGE = {**PYTORCH, MEAN: [0.0, 0.0, 0.0], STD: [255.0, 255.0, 255.0]}
# Caffe2's and MSRA's ResNets in detectron2's model zoo; batch norms are folded to scale and bias.
MSRA = {
    FORMAT: "BGR", MEAN: [103.53, 116.28, 123.675], STD: [1.0, 1.0, 1.0],
    STRIDE: True, NORM: "FrozenBN",
}  # fmt: skip
# ResNeXts of the same zoo (X-101-32x8d) have these instead.
CAFFE2_RESNEXT = {**MSRA, STD: [57.375, 57.12, 58.395], STRIDE: False}

_NUMBERS = r"\[\s*([\d.]+)\s*,\s*([\d.]+)\s*,\s*([\d.]+)\s*\]"


def openmmlab_settings(meta):
    """Return {config key: value} that the config text in an OpenMMLab checkpoint says.

    Args:
        meta: ``meta`` of the file; it may hold the text under ``config`` or ``cfg``. A setting that
            is ambiguous there is left out.
    """
    text = (meta.get("config") or meta.get("cfg")) if isinstance(meta, dict) else None
    if not isinstance(text, str):
        return {}
    found = {}
    for key, name in ((MEAN, "mean"), (STD, "std")):
        values = {tuple(map(float, x)) for x in re.findall(rf"\b{name}\s*=\s*{_NUMBERS}", text)}
        if len(values) == 1:
            (value,) = values
            # some configs normalise values of 0..1, others pixels; a std of 1 is of pixels
            scale = 255.0 if max(value) < 0.9 else 1.0
            found[key] = [round(x * scale, 4) for x in value]
    to_rgb = set(re.findall(r"\b(?:bgr_)?to_rgb\s*=\s*(True|False)", text))
    if len(to_rgb) == 1:
        found[FORMAT] = "RGB" if to_rgb == {"True"} else "BGR"
    styles = set(re.findall(r"style\s*=\s*['\"](pytorch|caffe)['\"]", text))
    if len(styles) == 1:
        found[STRIDE] = styles == {"caffe"}
    return found


def pixel_buffers(tensors):
    """Return the settings that detectron2's older checkpoints hold as buffers; {} if none."""
    if "pixel_mean" not in tensors or "pixel_std" not in tensors:
        return {}
    found = {
        key: [round(float(x), 3) for x in tensors[name].reshape(-1)]
        for key, name in ((MEAN, "pixel_mean"), (STD, "pixel_std"))
    }
    red_or_blue, _, last = found[MEAN]
    if red_or_blue != last:  # photographs are redder than they are blue
        found[FORMAT] = "RGB" if red_or_blue > last else "BGR"
    return found


def check_stated(pairs):
    """Return the settings that a user states as a dict of plain values.

    Args:
        pairs: [key, value, key, value, ...] of the command line, values as text or Python objects.

    Raises:
        ValueError: a key that weights do not depend on, or a value of the wrong kind.
    """
    if len(pairs) % 2:
        raise ValueError(f"Settings are pairs of a key and a value; {pairs[-1]!r} has no partner.")
    for key in pairs[::2]:
        if key not in STATED_KEYS:
            raise ValueError(f"{key} cannot be stated for weights; only {STATED_KEYS} can.")
    cfg = get_cfg()
    try:
        cfg.merge_from_list([str(x) for x in pairs])
    except Exception as error:  # yacs asserts, evaluates and converts, with different errors
        raise ValueError(f"A value in {pairs} does not suit its key: {error}") from error
    stated = {key: value_of(cfg, key) for key in pairs[::2]}
    if stated.get(FORMAT, "RGB") not in ("RGB", "BGR"):
        raise ValueError(f"INPUT.FORMAT is {stated[FORMAT]!r}: only RGB and BGR are known.")
    for key in (MEAN, STD):
        if len(stated.get(key, "abc")) != 3:
            raise ValueError(f"{key} needs three values, one per channel.")
    return stated
