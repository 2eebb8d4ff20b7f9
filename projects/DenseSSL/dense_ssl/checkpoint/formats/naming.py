"""Names of a ResNet's tensors, as projects write them and as detectron2 does.

Each function takes a name without its prefix and gives detectron2's, or None where the tensor is
no part of the backbone::

    torchvision   conv1.weight       layer1.0.bn2.weight       layer2.0.downsample.0.weight
    index         0.weight           4.0.bn2.weight            5.0.downsample.0.weight
    simclr_v2     net.0.0.weight     net.1.blocks.0.net.3.0.weight
    detectron2    stem.conv1.weight  res2.0.conv2.norm.weight  res3.0.shortcut.weight
"""

import re

_STAGES = ("res2", "res3", "res4", "res5")
_BLOCK = r"res[2-5]\.\d+\.(conv[123]|shortcut)(\.norm)?\.\w+"
_DETECTRON2 = re.compile(rf"stem\.conv1(\.norm)?\.\w+|{_BLOCK}")
_FPN = re.compile(r"fpn_(lateral|output)[2-5](\.norm)?\.\w+|top_block\.p[67]\.\w+")
_TORCHVISION_BLOCK = re.compile(r"layer([1-4])\.(\d+)\.(conv|bn|downsample\.)(\d)\.(\w+)")
_TORCHVISION_STEM = re.compile(r"(conv|bn)1\.(\w+)")
_INDEX_STEM = re.compile(r"([01])\.(\w+)")
_INDEX_BLOCK = re.compile(r"([4-7])\.(\d+\..+)")
_SIMCLR_STEM = re.compile(r"net\.0\.(0|1\.0)\.(\w+)")
_SIMCLR_BLOCK = re.compile(r"net\.([1-4])\.blocks\.(\d+)\.(.+)")
_SIMCLR_LAYER = re.compile(r"net\.(\d)(\.0)?\.(\w+)|projection\.(shortcut|bn\.0)\.(\w+)")


def from_torchvision(name):
    """torchvision's names; also timm's, mmpretrain's and most projects'."""
    match = _TORCHVISION_STEM.fullmatch(name)
    if match:
        return f"stem.conv1{_norm(match[1] == 'bn')}.{match[2]}"
    match = _TORCHVISION_BLOCK.fullmatch(name)
    if not match:
        return None
    stage, block, kind, number, leaf = match.groups()
    if kind == "downsample.":
        if number not in "01":
            return None
        layer = "shortcut" + _norm(number == "1")
    else:
        layer = f"conv{number}{_norm(kind == 'bn')}"
    return f"{_STAGES[int(stage) - 1]}.{block}.{layer}.{leaf}"


def _norm(is_norm):
    return ".norm" if is_norm else ""


def from_index(name):
    """Names of ``nn.Sequential(*list(resnet.children()))`` of a torchvision ResNet."""
    match = _INDEX_STEM.fullmatch(name)
    if match:
        return from_torchvision(("conv1.", "bn1.")[int(match[1])] + match[2])
    match = _INDEX_BLOCK.fullmatch(name)
    return from_torchvision(f"layer{int(match[1]) - 3}.{match[2]}") if match else None


def from_simclr_v2(name):
    """Names of the PyTorch port of SimCLR v2's ResNets (those without selective kernels)."""
    match = _SIMCLR_STEM.fullmatch(name)
    if match:
        return f"stem.conv1{_norm(match[1] != '0')}.{match[2]}"
    match = _SIMCLR_BLOCK.fullmatch(name)
    layer = _SIMCLR_LAYER.fullmatch(match[3]) if match else None
    if not layer:
        return None
    if layer[4]:
        kind, leaf = "shortcut" + _norm(layer[4] != "shortcut"), layer[5]
    else:  # convolutions at 0, 2, 4 and their norms, each in a Sequential of its own, at 1, 3, 5
        index, leaf = int(layer[1]), layer[3]
        if bool(layer[2]) != bool(index % 2) or index > 5:
            return None
        kind = f"conv{index // 2 + 1}{_norm(index % 2)}"
    return f"{_STAGES[int(match[1]) - 1]}.{match[2]}.{kind}.{leaf}"


def from_detectron2(name):
    """detectron2's names, with or without the ``bottom_up.`` of an FPN; its levels come along."""
    name = name[len("bottom_up.") :] if name.startswith("bottom_up.") else name
    return name if _DETECTRON2.fullmatch(name) or _FPN.fullmatch(name) else None


def to_torchvision(name):
    """torchvision's name of a tensor that detectron2's ResNet calls ``name``; None for an FPN's."""
    if not _DETECTRON2.fullmatch(name):
        return None
    *path, leaf = name.split(".")
    is_norm = path[-1] == "norm"
    path = path[:-1] if is_norm else path
    layer = path.pop()
    if layer == "shortcut":
        layer = f"downsample.{int(is_norm)}"
    elif is_norm:
        layer = layer.replace("conv", "bn")
    if path[0] == "stem":
        return f"{layer}.{leaf}"
    return f"layer{_STAGES.index(path[0]) + 1}.{path[1]}.{layer}.{leaf}"


def is_part_of_network(name, naming):
    """Whether a name belongs to the stem or the stages, whatever the layer is."""
    return bool(_PARTS[naming].match(name))


_PARTS = {
    "torchvision": re.compile(r"(conv1|bn1|layer[1-4])\."),
    "index": re.compile(r"[014567]\."),
    "simclr_v2": re.compile(r"net\."),
    "detectron2": re.compile(r"(bottom_up\.)?(stem|res[2-5]\.\d+)\."),
}

# By the names that layouts give; then two tensors that show that a naming is used.
NAMINGS = {
    "torchvision": from_torchvision,
    "index": from_index,
    "simclr_v2": from_simclr_v2,
    "detectron2": from_detectron2,
}
SIGNS = {
    "torchvision": ("conv1.weight", "layer1.0.conv1.weight"),
    "index": ("0.weight", "4.0.conv1.weight"),
    "simclr_v2": ("net.0.0.weight", "net.1.blocks.0.net.0.weight"),
    "detectron2": ("stem.conv1.weight", "res2.0.conv1.weight"),
}
