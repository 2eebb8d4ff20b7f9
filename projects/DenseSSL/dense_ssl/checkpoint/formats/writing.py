"""Backbones written in the formats of other projects."""

import json
import pickle
from collections import OrderedDict
from pathlib import Path

import torch

from ..files import atomic_file
from ..handover import zoo_checkpoint
from .naming import to_torchvision
from .reading import CheckpointError
from .sources import STRIDE

FORMATS = ("detectron2", "torchvision", "timm", "mmdet", "mmpretrain")
SUFFIXES = {
    "detectron2": (".pkl", ".safetensors"),
    "torchvision": (".pth", ".pt", ".safetensors"),
    "timm": (".pth", ".pt", ".safetensors"),
    "mmdet": (".pth",),
    "mmpretrain": (".pth",),
}


def write_backbone(backbone, path, to="detectron2"):
    """Write a backbone to ``path``, whole or not at all.

    Args:
        backbone: result of :func:`~.backbone.extract_backbone`.
        path: its suffix tells pickle, torch.save or safetensors.
        to: one of FORMATS. ``mmdet`` and ``mmpretrain`` are the same format.

    Returns:
        names of tensors that the format has no place for (of an FPN, of a box head).

    Raises:
        CheckpointError: the format cannot hold this network, or not in this kind of file.
    """
    suffix = Path(path).suffix
    if suffix not in SUFFIXES[to]:
        raise CheckpointError(
            f"{to} weights are written as {' or '.join(SUFFIXES[to])}, not as {suffix or path}."
        )
    if to == "detectron2":
        tensors, rest = {**backbone.weights, **backbone.head}, []
    else:
        tensors, rest = torchvision_state_dict(backbone, to)
    if suffix == ".safetensors":
        _write_safetensors(path, tensors, backbone, to)
    elif suffix == ".pkl":
        with atomic_file(path) as file:
            pickle.dump(detectron2_checkpoint(backbone), file)
    else:
        with atomic_file(path) as file:
            torch.save(_openmmlab(tensors, backbone) if to.startswith("mm") else tensors, file)
    return rest


def torchvision_state_dict(backbone, to="torchvision"):
    """(OrderedDict of torchvision's names without ``fc``, names that torchvision has not).

    Norms with statistics get ``num_batches_tracked`` 0, so that loading with ``strict=True`` finds
    all it looks for; it matters only to norms without a momentum.
    """
    _check_stride(backbone, to)
    result, rest = OrderedDict(), list(backbone.head)
    for name, x in backbone.weights.items():
        new = to_torchvision(name)
        if new is None:
            rest.append(name)
            continue
        result[new] = x
        if new.endswith(".running_var"):
            counter = new[: -len("running_var")] + "num_batches_tracked"
            result[counter] = torch.zeros((), dtype=torch.int64)
    return result, rest


def _check_stride(backbone, to):
    is_bottleneck = backbone.architecture["MODEL.RESNETS.DEPTH"] >= 50
    if is_bottleneck and backbone.settings.get(STRIDE) and not to.startswith("mm"):
        raise CheckpointError(
            f"This network has its strides in the 1 x 1 convolutions ({STRIDE} True), where {to}'s "
            "has them in the 3 x 3 ones: the same weights would compute something else. "
            "MMDetection has such networks (--to mmdet, style='caffe')."
        )


def provenance(backbone):
    """What is kept beside the weights: settings, widths and where they came from."""
    recognised = backbone.recognised
    return {
        "settings": backbone.settings,
        "architecture": backbone.architecture,
        "source": {"layout": recognised.layout.name, "encoder": recognised.encoder},
    }


def detectron2_checkpoint(backbone):
    """What ``backbone.pkl`` holds, of a backbone from anywhere; tensors as numpy arrays."""
    tensors = {**backbone.weights, **backbone.head}
    weights = {name: x.numpy() for name, x in tensors.items()}
    return zoo_checkpoint(weights, provenance(backbone))


def _write_safetensors(path, tensors, backbone, to):
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise ImportError("safetensors files need the package: pip install safetensors") from error
    # timm reads the plain names; what is known of the network rides along in the header
    metadata = {"format": "pt", "dense_ssl": json.dumps({**provenance(backbone), "format": to})}
    with atomic_file(path) as file:
        file.write(save({k: x.contiguous() for k, x in tensors.items()}, metadata))


def _openmmlab(tensors, backbone):
    state_dict = OrderedDict((f"backbone.{name}", x) for name, x in tensors.items())
    return {"meta": {"dense_ssl": provenance(backbone)}, "state_dict": state_dict}
