"""Names of a ResNet's tensors, in other projects and in detectron2.

    torchvision   conv1.weight       layer1.0.bn2.weight       layer2.0.downsample.0.weight
    index         0.weight           4.0.bn2.weight            5.0.downsample.0.weight
    simclr_v2     net.0.0.weight     net.1.blocks.0.net.3.0.weight
    detectron2    stem.conv1.weight  res2.0.conv2.norm.weight  res3.0.shortcut.weight

``index`` is ``nn.Sequential(*list(resnet.children()))``; ``simclr_v2`` is the PyTorch port of
SimCLR v2 (ResNets without selective kernels).
"""

import re

# Two tensors that show that a naming is used.
SIGNS = {
    "torchvision": ("conv1.weight", "layer1.0.conv1.weight"),
    "index": ("0.weight", "4.0.conv1.weight"),
    "simclr_v2": ("net.0.0.weight", "net.1.blocks.0.net.0.weight"),
    "detectron2": ("stem.conv1.weight", "res2.0.conv1.weight"),
}

_TORCHVISION = (
    (r"^(conv|bn)1\.", r"stem.\g<1>1."),
    *((rf"^layer{i}\.", f"res{i + 1}.") for i in range(1, 5)),
    (r"\.bn([123])\.", r".conv\1.norm."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
)
_RULES = {
    "torchvision": _TORCHVISION,
    "index": (
        (r"^0\.", "conv1."),
        (r"^1\.", "bn1."),
        *((rf"^{i + 3}\.", f"layer{i}.") for i in range(1, 5)),
        *_TORCHVISION,
    ),
    "simclr_v2": (
        (r"^net\.0\.0\.", "conv1."),
        (r"^net\.0\.1\.0\.", "bn1."),
        (r"^net\.([1-4])\.blocks\.", r"layer\1."),
        *((rf"\.net\.{2 * i}\.", f".conv{i + 1}.") for i in range(3)),
        *((rf"\.net\.{2 * i + 1}\.0\.", f".bn{i + 1}.") for i in range(3)),
        (r"\.projection\.shortcut\.", ".downsample.0."),
        (r"\.projection\.bn\.0\.", ".downsample.1."),
        *_TORCHVISION,
    ),
    "detectron2": ((r"^bottom_up\.", ""),),
}
_TO_TORCHVISION = (
    (r"\.conv([123])\.norm\.", r".bn\1."),
    (r"\.shortcut\.norm\.", ".downsample.1."),
    (r"\.shortcut\.", ".downsample.0."),
    *((rf"^res{i + 1}\.", f"layer{i}.") for i in range(1, 5)),
    (r"^stem\.", ""),
)
_RESNET = re.compile(r"(stem\.conv1|res[2-5]\.\d+\.(conv[123]|shortcut))(\.norm)?\.\w+")
_FPN = re.compile(r"fpn_(lateral|output)[2-5](\.norm)?\.\w+|top_block\.p[67]\.\w+")


def _rename(name, rules):
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def to_detectron2(name, naming="torchvision"):
    """Return detectron2's name of a tensor of a ResNet or FPN; None for one outside of them.

    Args:
        name: without the prefix of the network.
        naming: key of :data:`SIGNS`.

    A tensor in the stem or the stages that detectron2 does not have keeps the rest of its name:
    :func:`is_known` is False for it.
    """
    new = _rename(name, _RULES[naming])
    is_inside = new.startswith(("stem.", "res2.", "res3.", "res4.", "res5."))
    if naming == "detectron2":
        return new if is_inside or _FPN.fullmatch(new) else None
    return new if is_inside and new != name else None


def is_known(name):
    """Return True if detectron2's ResNet or FPN can have a tensor of this name."""
    return bool(_RESNET.fullmatch(name) or _FPN.fullmatch(name))


def to_torchvision(name):
    """Return torchvision's name of a tensor of detectron2's ResNet; None for one of an FPN."""
    return _rename(name, _TO_TORCHVISION) if _RESNET.fullmatch(name) else None
