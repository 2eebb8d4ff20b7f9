"""The ResNet that tensors belong to: its config keys, from names and shapes alone."""

import re
from contextlib import nullcontext

import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone

from .reading import CheckpointError

_DEPTHS = {
    ("basic", (2, 2, 2, 2)): 18,
    ("basic", (3, 4, 6, 3)): 34,
    ("bottleneck", (3, 4, 6, 3)): 50,
    ("bottleneck", (3, 4, 23, 3)): 101,
    ("bottleneck", (3, 8, 36, 3)): 152,
}
_LATERAL = re.compile(r"fpn_lateral(\d)\.weight")


def architecture(weights):
    """Config keys of the backbone that has these tensors.

    Args:
        weights: {detectron2 name: tensor} of a ResNet, or of a ResNet and its FPN.

    Returns:
        {config key: value}: depth, widths, groups; with an FPN its builder, maps and width.

    Raises:
        CheckpointError: detectron2 has no ResNet with these stages, stem or widths.
    """
    blocks = tuple(_count_blocks(weights, f"res{i}") for i in range(2, 6))
    kind = "bottleneck" if "res2.0.conv3.weight" in weights else "basic"
    if (kind, blocks) not in _DEPTHS:
        raise CheckpointError(
            f"Its stages have {blocks} {kind} blocks; detectron2's ResNets have {_known_depths()}."
        )
    stem = _shape(weights, "stem.conv1.weight")
    if stem[1:] != (3, 7, 7):
        raise CheckpointError(
            f"Its first convolution is {stem[2]} x {stem[3]} on {stem[1]} channels (a variant for "
            "small images?); detectron2's is 7 x 7 on 3."
        )
    middle = _shape(weights, "res2.0.conv2.weight")
    out = _shape(weights, "res2.0.conv3.weight" if kind == "bottleneck" else "res2.0.conv2.weight")
    keys = {
        "MODEL.RESNETS.DEPTH": _DEPTHS[kind, blocks],
        "MODEL.RESNETS.STEM_OUT_CHANNELS": stem[0],
        "MODEL.RESNETS.RES2_OUT_CHANNELS": out[0],
    }
    if kind == "bottleneck":
        # a grouped convolution sees only the channels of its group
        keys["MODEL.RESNETS.NUM_GROUPS"] = middle[0] // middle[1]
        keys["MODEL.RESNETS.WIDTH_PER_GROUP"] = middle[1]
    elif (stem[0], out[0]) != (64, 64):
        raise CheckpointError(
            f"Its basic blocks start at a width of {out[0]}; detectron2 has ResNet-18 and -34 with "
            "a width of 64 only."
        )
    return {**keys, **_fpn(weights)}


def _count_blocks(weights, stage):
    numbers = {x.split(".")[1] for x in weights if x.startswith(f"{stage}.")}
    return len(numbers)


def _known_depths():
    return ", ".join(f"{blocks} {kind} ({d})" for (kind, blocks), d in _DEPTHS.items())


def _shape(weights, name):
    if name not in weights:
        raise CheckpointError(f"It has no {name}: the network is not complete.")
    return tuple(weights[name].shape)


def _fpn(weights):
    levels = sorted(int(x[1]) for x in map(_LATERAL.fullmatch, weights) if x)
    if not levels:
        return {}
    maps = [f"res{i}" for i in levels]
    is_retinanet = "top_block.p6.weight" in weights
    builder = "retinanet_resnet_fpn" if is_retinanet else "resnet_fpn"
    return {
        "MODEL.BACKBONE.NAME": f"build_{builder}_backbone",
        "MODEL.RESNETS.OUT_FEATURES": maps,
        "MODEL.FPN.IN_FEATURES": maps,
        "MODEL.FPN.OUT_CHANNELS": _shape(weights, f"fpn_lateral{levels[0]}.weight")[0],
    }


def norms_of(weights):
    """{config key: norm or None} that names alone tell; None where batch norms may be frozen."""
    result = {"MODEL.RESNETS.NORM": _norm_of(weights, "stem.conv1.norm.")}
    lateral = [x for x in weights if x.startswith("fpn_lateral")]
    if lateral:
        result["MODEL.FPN.NORM"] = _norm_of(weights, lateral[0].split(".")[0] + ".norm.")
    return result


def _norm_of(weights, prefix):
    if f"{prefix}weight" not in weights:
        return ""
    return None if f"{prefix}running_mean" in weights else "GN"


def build(keys):
    """detectron2's backbone of the given config keys, on the CPU and at random.

    Args:
        keys: {config key: value}, of :func:`architecture` and of settings.

    Returns:
        (backbone, cfg)
    """
    cfg = get_cfg()
    cfg.merge_from_list([x for pair in keys.items() for x in pair])
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    if "MODEL.RESNETS.OUT_FEATURES" not in keys:
        cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    return build_backbone(cfg, ShapeSpec(channels=3)), cfg


def _without_memory():
    """Context in which modules have shapes only; torch before 2.0 allocates them."""
    is_context = hasattr(torch.device("meta"), "__enter__")
    return torch.device("meta") if is_context else nullcontext()


def differences(weights, keys):
    """How tensors differ from those of detectron2's backbone of ``keys``.

    Returns:
        dict of lists: "missing" and "unexpected" names, "shapes" as (name, found, wanted).
    """
    with _without_memory():
        backbone, _ = build(keys)
    wanted = {
        name.replace("bottom_up.", "", 1): tuple(x.shape)
        for name, x in backbone.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    return {
        "missing": [x for x in wanted if x not in weights],
        "unexpected": [x for x in weights if x not in wanted],
        "shapes": [
            (name, tuple(weights[name].shape), shape)
            for name, shape in wanted.items()
            if name in weights and tuple(weights[name].shape) != shape
        ],
    }
