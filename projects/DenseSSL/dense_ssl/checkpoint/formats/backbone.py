"""A backbone read from any checkpoint: its tensors, its settings and where they came from."""

from dataclasses import dataclass, field, replace

import torch
from detectron2.checkpoint.c2_model_loading import convert_c2_detectron_names

from ..handover import COLOUR_KEYS, summarise
from .architecture import architecture, differences, norms_of
from .families import CAFFE2, SOCO, UNKNOWN
from .naming import is_known, to_detectron2
from .reading import CheckpointError
from .recognise import Recognised, recognise
from .settings import (
    CAFFE2_RESNEXT,
    FORMAT,
    NORM,
    STATED_KEYS,
    openmmlab_settings,
    pixel_buffers,
)
from .soco import detector_name

_LEAVES = ("weight", "bias", "running_mean", "running_var")
_COUNTER = ".num_batches_tracked"


@dataclass
class Backbone:
    """A ResNet (with an FPN, if the file has one) in detectron2's names.

    Attributes:
        weights: {detectron2 name: float tensor}, as in ``backbone.pkl``.
        settings: {config key: value} that the weights depend on, as far as they are known.
        architecture: {config key: value} of depth and widths.
        recognised: what the file is.
        left_out: names of the file's other tensors.
        head: {detectron2 name: tensor} of a box head, if the project trains one.
    """

    weights: dict
    settings: dict
    architecture: dict
    recognised: Recognised
    left_out: list = field(default_factory=list)
    head: dict = field(default_factory=dict)

    @property
    def unknown_settings(self):
        """Keys that neither the file nor its family says."""
        return [x for x in STATED_KEYS if x not in self.settings]


def extract_backbone(checkpoint, encoder=None, prefix=None, stated=None):
    """Take the backbone out of a checkpoint.

    Args:
        checkpoint: result of :func:`~.reading.read_checkpoint`.
        encoder, prefix: see :func:`~.recognise.recognise`.
        stated: {config key: value} that the user knows better than the file.

    Returns:
        Backbone with every tensor of detectron2's backbone, in its shape.

    Raises:
        CheckpointError: not recognised, not complete, or not a ResNet that detectron2 has.
    """
    found = recognise(checkpoint, encoder, prefix)
    weights, head, left_out, counted = _renamed(found)
    keys = architecture(weights)
    settings = {**_settings(checkpoint, found, weights, keys, counted), **(stated or {})}
    norms = {k: x for k, x in settings.items() if k in (NORM, "MODEL.FPN.NORM")}
    wrong = differences(weights, {**keys, NORM: "BN", **norms})
    if wrong:
        raise CheckpointError(
            f"It is not the ResNet-{keys['MODEL.RESNETS.DEPTH']} that detectron2 builds:\n  "
            + "\n  ".join(wrong[:10])
        )
    # as in handover.backbone_settings: every key that detectors compare
    settings["MODEL.RESNETS.DEPTH"] = keys["MODEL.RESNETS.DEPTH"]
    return Backbone(weights, settings, keys, found, left_out, head)


def _renamed(found):
    """Return ({detectron2 name: tensor}, box head, names left out, if batch norms count)."""
    network = found.network
    tensors = _from_caffe2(network.tensors) if found.family is CAFFE2 else network.tensors
    # C4 detectors keep res5 in their heads
    prefixes = (network.prefix, *(["roi_heads."] if network.naming == "detectron2" else []))
    weights, head, left_out, strange = {}, {}, [], []
    for name, x in tensors.items():
        prefix = next((p for p in prefixes if name.startswith(p)), None)
        new = None if prefix is None else to_detectron2(name[len(prefix) :], network.naming)
        if new and is_known(new) and new not in weights:
            weights[new] = x
        else:
            (strange if new and prefix == network.prefix else left_out).append(name)
    for name in [*left_out] if found.family is SOCO else ():
        new = detector_name(name, tensors, weights)
        if new:
            (head if new.startswith("box_head.") else weights)[new] = tensors[name]
            left_out.remove(name)
    counters = [x for x in weights if x.endswith(_COUNTER)]
    weights = {k: x for k, x in weights.items() if not k.endswith(_COUNTER)}
    strange += [x for x in weights if x.rsplit(".", 1)[-1] not in _LEAVES]
    if strange:
        raise CheckpointError(
            f"{len(strange)} of its tensors ({summarise(strange)}) do not exist in detectron2's "
            "ResNet: it is a variant (squeeze-and-excitation, another shortcut, ...)."
        )
    weights, head = ({k: _copy(x) for k, x in part.items()} for part in (weights, head))
    return weights, head, left_out, bool(counters)


def _copy(x):
    """Return a tensor with its own memory; half precision becomes float32 with equal values."""
    x = torch.as_tensor(x).detach()
    dtype = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
    return x.to("cpu", dtype).clone(memory_format=torch.contiguous_format)


def _from_caffe2(tensors):
    """Return tensors with detectron2's names; Caffe2's batch norms are a scale and a bias.

    They get the statistics that detectron2's FrozenBN assumes if a file has none.
    """
    blobs = {k: torch.as_tensor(x) for k, x in tensors.items() if not k.endswith("_momentum")}
    renamed, _ = convert_c2_detectron_names(blobs)
    for name in [x for x in renamed if x.endswith(".norm.weight")]:
        start = name[: -len("weight")]
        renamed[f"{start}running_mean"] = torch.zeros_like(renamed[name])
        renamed[f"{start}running_var"] = torch.ones_like(renamed[name])
    return renamed


def _settings(checkpoint, found, weights, keys, counted):
    """Return the settings that the file says, or that its family has."""
    meta = checkpoint.get("meta")
    for holder in (checkpoint, meta):
        facts = holder.get("dense_ssl") if isinstance(holder, dict) else None
        if isinstance(facts, dict) and facts.get("settings"):
            return dict(facts["settings"])
    settings = dict(found.family.settings)
    if found.family is UNKNOWN:
        return settings
    if found.family is CAFFE2 and keys.get("MODEL.RESNETS.NUM_GROUPS", 1) > 1:
        settings = dict(CAFFE2_RESNEXT)
    if found.network.naming == "detectron2":
        settings.update(pixel_buffers(found.network.tensors))
    settings.update(openmmlab_settings(meta))
    # FrozenBN has statistics but does not count batches
    batch_norm = settings.get(NORM) or ("BN" if counted else "FrozenBN")
    return {**settings, **norms_of(weights, batch_norm)}


def flip_colours(backbone):
    """Return the same network for the other order of colours: RGB for BGR, or BGR for RGB.

    The input channels of the first convolution, the pixel mean and the pixel std are reversed, so
    features of an image stay the same.

    Raises:
        CheckpointError: the order that the network has is not known.
    """
    if FORMAT not in backbone.settings:
        raise CheckpointError("It is not known whether it takes RGB or BGR: state INPUT.FORMAT.")
    weights, settings = dict(backbone.weights), dict(backbone.settings)
    weights["stem.conv1.weight"] = weights["stem.conv1.weight"].flip(1)
    settings[FORMAT] = {"RGB": "BGR", "BGR": "RGB"}[settings[FORMAT]]
    for key in COLOUR_KEYS[1:]:
        if key in settings:
            settings[key] = list(settings[key])[::-1]
    return replace(backbone, weights=weights, settings=settings)
