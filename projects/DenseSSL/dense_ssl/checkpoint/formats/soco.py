"""The FPN and the box head that SoCo trains beside its backbone.

SoCo names them as MMDetection does: ``neck.lateral_convs.0.conv``, ``head.bn1``.
"""

import re

_NECK = re.compile(r"neck\.(lateral|fpn)_convs\.(\d)\.(conv|bn)\.(\w+)")
_BOX_HEAD = re.compile(r"head\.(conv|bn|fc)(\d)\.(\w+)")


def detector_part(name, tensors, encoder):
    """detectron2's name of a tensor of SoCo's FPN or box head, or None.

    Args:
        name: a name of the file.
        tensors: {name: tensor} of the whole model.
        encoder: prefix of its ResNet.
    """
    match = _NECK.fullmatch(name)
    if match:
        kind, index, layer, leaf = match.groups()
        level = _level(tensors, encoder, f"neck.lateral_convs.{index}.conv.weight")
        if level is None:
            return None
        kind = "lateral" if kind == "lateral" else "output"
        return f"fpn_{kind}{level}{_norm(layer)}.{leaf}"
    match = _BOX_HEAD.fullmatch(name)
    if match:
        kind, number, leaf = match.groups()
        return f"box_head.{'fc' if kind == 'fc' else 'conv'}{number}{_norm(kind)}.{leaf}"
    return None


def _norm(kind):
    return ".norm" if kind == "bn" else ""


def _level(tensors, encoder, lateral):
    """Stage that a lateral convolution reads: the index alone does not tell where an FPN starts."""
    if lateral not in tensors:
        return None
    for level in range(2, 6):
        for conv in ("conv3", "conv2"):  # the last of a bottleneck, of a basic block
            name = f"{encoder}layer{level - 1}.0.{conv}.weight"
            if name in tensors:
                if tensors[name].shape[0] == tensors[lateral].shape[1]:
                    return level
                break
    return None
