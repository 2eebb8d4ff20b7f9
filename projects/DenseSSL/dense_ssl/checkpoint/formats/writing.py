"""Backbones written in the formats of other projects."""

import json
import pickle
from collections import OrderedDict
from pathlib import Path

import torch

from ...utils.atomic_file import atomic_file
from ..handover import zoo_checkpoint
from .naming import to_torchvision
from .reading import CheckpointError
from .settings import STRIDE

# Formats, and the kinds of file they are written as.
FORMATS = {
    "detectron2": (".pkl", ".safetensors"),
    "torchvision": (".pth", ".pt", ".safetensors"),
    "timm": (".pth", ".pt", ".safetensors"),
    "mmdet": (".pth",),
    "mmpretrain": (".pth",),
}


def write_backbone(backbone, path, to="detectron2"):
    """Write a backbone to ``path``, completely or not at all.

    Args:
        backbone: result of :func:`~.backbone.extract_backbone`.
        path: its suffix selects pickle, torch.save or safetensors.
        to: key of FORMATS. ``mmdet`` and ``mmpretrain`` are the same format.

    Returns:
        names of tensors that the format has no place for (of an FPN, of a box head).

    Raises:
        CheckpointError: the format cannot hold this network, or not in this kind of file.
    """
    suffix = Path(path).suffix
    if suffix not in FORMATS[to]:
        raise CheckpointError(
            f"{to} weights are written as {' or '.join(FORMATS[to])}, not as {suffix or path}."
        )
    tensors, rest = {**backbone.weights, **backbone.head}, []
    if to != "detectron2":
        tensors, rest = _torchvision_tensors(backbone, to)
    # what is known of the network goes into the header; timm reads the plain names
    header = {"format": "pt", "dense_ssl": json.dumps({**_provenance(backbone), "format": to})}
    if suffix == ".safetensors":
        content = _safetensors(tensors, header)
    with atomic_file(path) as file:
        if suffix == ".safetensors":
            file.write(content)
        elif suffix == ".pkl":
            pickle.dump(detectron2_checkpoint(backbone), file)
        else:
            torch.save(_openmmlab(tensors, backbone) if to.startswith("mm") else tensors, file)
    return rest


def _torchvision_tensors(backbone, to):
    """Return (OrderedDict in torchvision's names without ``fc``, names that have no place there).

    Batch norms get ``num_batches_tracked`` 0, so that loading with ``strict=True`` works;
    it matters only to batch norms without a momentum.
    """
    is_bottleneck = backbone.architecture["MODEL.RESNETS.DEPTH"] >= 50
    if is_bottleneck and backbone.settings.get(STRIDE) and not to.startswith("mm"):
        raise CheckpointError(
            f"This network has its strides in the 1 x 1 convolutions ({STRIDE} True), but {to}'s "
            "has them in the 3 x 3 ones: the same weights would compute something else. "
            "MMDetection has such networks (--to mmdet, style='caffe')."
        )
    if not any(x.endswith(".running_var") for x in backbone.weights):
        raise CheckpointError(
            f"This network has no statistics of batch norms, and {to}'s networks have batch norms: "
            "the same weights would compute something else. Only --to detectron2 can hold it."
        )
    result, rest = OrderedDict(), list(backbone.head)
    for name, x in backbone.weights.items():
        new = to_torchvision(name)
        if new is None:
            rest.append(name)
            continue
        result[new] = x
        if new.endswith(".running_var"):
            counter = new.replace(".running_var", ".num_batches_tracked")
            result[counter] = torch.zeros((), dtype=torch.int64)
    return result, rest


def _provenance(backbone):
    """Return what is kept beside the weights: settings, widths and where they came from."""
    found = backbone.recognised
    return {
        "settings": backbone.settings,
        "architecture": backbone.architecture,
        "source": {"family": found.family.title, "encoder": found.encoder},
    }


def detectron2_checkpoint(backbone):
    """Return what ``backbone.pkl`` holds; tensors become numpy arrays."""
    weights = {k: x.numpy() for k, x in {**backbone.weights, **backbone.head}.items()}
    return zoo_checkpoint(weights, _provenance(backbone))


def _safetensors(tensors, header):
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise ImportError("safetensors files need the package: pip install safetensors") from error
    return save({k: x.contiguous() for k, x in tensors.items()}, header)


def _openmmlab(tensors, backbone):
    state_dict = OrderedDict((f"backbone.{name}", x) for name, x in tensors.items())
    return {"meta": {"dense_ssl": _provenance(backbone)}, "state_dict": state_dict}
