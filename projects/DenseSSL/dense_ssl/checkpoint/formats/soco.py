"""The FPN and the box head that SoCo trains beside its backbone, with MMDetection's names."""

import re

_NECK = re.compile(r"neck\.(lateral|fpn)_convs\.(\d)\.(conv|bn)\.(\w+)")
_BOX_HEAD = re.compile(r"head\.(conv|bn|fc)(\d)\.(\w+)")


def detector_name(name, tensors, weights):
    """Return detectron2's name of a tensor of SoCo's FPN or box head, or None.

    Args:
        name: a name in the file.
        tensors: {name: tensor} of the complete model.
        weights: {detectron2 name: tensor} of its ResNet.
    """
    match = _BOX_HEAD.fullmatch(name)
    if match:
        kind, number, leaf = match.groups()
        layer = {"conv": "conv{}", "bn": "conv{}.norm", "fc": "fc{}"}[kind].format(number)
        return f"box_head.{layer}.{leaf}"
    match = _NECK.fullmatch(name)
    lateral = match and tensors.get(f"neck.lateral_convs.{match[2]}.conv.weight")
    if lateral is None:
        return None
    # the index counts from the FPN's first stage; the width shows which stage it reads
    last = "conv3" if "res2.0.conv3.weight" in weights else "conv2"
    widths = {weights[f"res{i}.0.{last}.weight"].shape[0]: i for i in range(2, 6)}
    level = widths.get(lateral.shape[1])
    kind = {"lateral": "lateral", "fpn": "output"}[match[1]]
    norm = ".norm" if match[3] == "bn" else ""
    return f"fpn_{kind}{level}{norm}.{match[4]}" if level else None
