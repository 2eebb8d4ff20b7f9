"""A backbone read from any checkpoint: its tensors, its settings and where they came from."""

from dataclasses import dataclass, field

import torch
from detectron2.checkpoint.c2_model_loading import convert_c2_detectron_names

from ..handover import COLOUR_KEYS, summarise
from .architecture import architecture, differences, norms_of
from .layouts import CAFFE2, UNKNOWN_PROJECT
from .naming import NAMINGS, is_part_of_network
from .reading import CheckpointError
from .recognise import Recognised, recognise
from .soco import detector_part
from .sources import CAFFE2_RESNEXT, FORMAT, MEAN, NORM, STATED_KEYS, STD, openmmlab_settings

_LEAVES = ("weight", "bias", "running_mean", "running_var")
_HALVES = (torch.float16, torch.bfloat16)


@dataclass
class Backbone:
    """A ResNet (with an FPN, where the file has one) in detectron2's names.

    Attributes:
        weights: {detectron2 name: float tensor}, as in ``backbone.pkl``.
        settings: {config key: value} that the weights depend on, as far as they are known.
        architecture: {config key: value} of depth and widths.
        recognised: what the file is.
        left_out: names of the file's other tensors.
        head: {detectron2 name: tensor} of a box head, where a project trains one.
    """

    weights: dict
    settings: dict
    architecture: dict
    recognised: Recognised
    left_out: list = field(default_factory=list)
    head: dict = field(default_factory=dict)

    @property
    def unknown_settings(self):
        """Keys that neither the file nor its kind tells."""
        return [x for x in STATED_KEYS if x not in self.settings]


def extract_backbone(checkpoint, layout=None, encoder=None, prefix=None, stated=None):
    """Take the backbone out of a checkpoint.

    Args:
        checkpoint: result of :func:`~.reading.read_checkpoint`.
        layout, encoder, prefix: see :func:`~.recognise.recognise`.
        stated: {config key: value} that the user knows better than the file.

    Returns:
        Backbone, complete: every tensor of detectron2's backbone is there in its shape.

    Raises:
        CheckpointError: not recognised, not complete, or not a ResNet of detectron2's kind.
    """
    recognised = recognise(checkpoint, layout, encoder, prefix)
    weights, head, left_out, counted = _renamed(recognised)
    keys = architecture(weights)
    settings = _settings(checkpoint, recognised, weights, keys, counted)
    settings.update(stated or {})
    _check_complete(weights, keys, settings)
    # as handover.backbone_settings has it: every key that detectors compare
    settings["MODEL.RESNETS.DEPTH"] = keys["MODEL.RESNETS.DEPTH"]
    return Backbone(weights, settings, keys, recognised, left_out, head)


def _renamed(recognised):
    """({detectron2 name: tensor}, box head, names left out, whether norms count their batches)."""
    tensors, prefix = recognised.tensors, recognised.place.prefix
    if recognised.layout is CAFFE2:
        tensors = _from_caffe2(tensors)
    naming = recognised.layout.naming
    weights, head, left_out, strange, counted = {}, {}, [], [], False
    for name, x in tensors.items():
        rest = _behind(name, (prefix, *recognised.layout.also))
        new = None if rest is None else NAMINGS[naming](rest)
        leaf = name.rsplit(".", 1)[-1]
        if new is None and recognised.layout.name == "soco":
            new = detector_part(name, tensors, prefix)
        if new is None or new in weights:
            is_layer = name.startswith(prefix) and rest and is_part_of_network(rest, naming)
            (strange if is_layer else left_out).append(name)
        elif leaf == "num_batches_tracked":
            counted = True
        elif leaf not in _LEAVES:
            strange.append(name)
        else:
            (head if new.startswith("box_head.") else weights)[new] = _plain(torch.as_tensor(x))
    if strange:
        raise CheckpointError(
            f"{len(strange)} of its tensors ({summarise(strange)}) have no place in detectron2's "
            "ResNet: it is a variant (squeeze-and-excitation, another shortcut, ...)."
        )
    return weights, head, left_out, counted


def _behind(name, prefixes):
    """What follows the first of ``prefixes`` that a name starts with, or None."""
    for prefix in prefixes:
        if name.startswith(prefix):
            return name[len(prefix) :]
    return None


def _plain(x):
    """A tensor of its own memory; half precision becomes float32, which changes no value."""
    x = x.detach().to("cpu", torch.float32 if x.dtype in _HALVES else x.dtype)
    return x.clone(memory_format=torch.contiguous_format)


def _from_caffe2(tensors):
    """Caffe2's names renamed by detectron2; its norms are scale and bias alone.

    They get the statistics that detectron2's frozen norms take where a file has none.
    """
    blobs = {k: torch.as_tensor(x) for k, x in tensors.items() if not k.endswith("_momentum")}
    renamed, _ = convert_c2_detectron_names(blobs)
    for name in [x for x in renamed if x.endswith(".norm.weight")]:
        start, like = name[: -len("weight")], renamed[name]
        renamed[f"{start}running_mean"] = torch.zeros_like(like)
        renamed[f"{start}running_var"] = torch.ones_like(like)
    return renamed


def _settings(checkpoint, recognised, weights, keys, counted):
    """What is known of the settings: from the file, or from what kind of file it is."""
    saved = (checkpoint.get("dense_ssl") or {}).get("settings")
    if saved:
        return dict(saved)
    meta = checkpoint.get("meta")
    if isinstance(meta, dict) and isinstance(meta.get("dense_ssl"), dict):
        return dict(meta["dense_ssl"]["settings"])
    layout = recognised.layout
    settings = dict(layout.settings)
    if layout is CAFFE2 and keys.get("MODEL.RESNETS.NUM_GROUPS", 1) > 1:
        settings = dict(CAFFE2_RESNEXT)
    if layout.name == "openmmlab":
        settings.update(openmmlab_settings(checkpoint))
    if layout.name != UNKNOWN_PROJECT:
        settings.update(_norm_settings(settings, weights, counted))
    if layout.naming == "detectron2":
        settings.update(_pixel_buffers(recognised.tensors))
    return settings


def _norm_settings(settings, weights, counted):
    """Norms of the weights: named by the layout, told by the names, or told by their counters."""
    norms = {}
    for key, norm in norms_of(weights).items():
        if norm is None:
            norm = settings.get(NORM) if key == NORM else None
            # detectron2's frozen norms have statistics, but do not count batches
            norm = norm or ("BN" if counted else "FrozenBN")
        norms[key] = norm
    return norms


def _pixel_buffers(tensors):
    """Pixel mean and std that detectron2's older checkpoints hold, and what follows from them."""
    if "pixel_mean" not in tensors or "pixel_std" not in tensors:
        return {}
    mean = [round(float(x), 3) for x in tensors["pixel_mean"].reshape(-1)]
    std = [round(float(x), 3) for x in tensors["pixel_std"].reshape(-1)]
    found = {MEAN: mean, STD: std}
    if mean[0] != mean[2]:  # photographs are redder than they are blue
        found[FORMAT] = "RGB" if mean[0] > mean[2] else "BGR"
    return found


def _check_complete(weights, keys, settings):
    norms = {k: x for k, x in settings.items() if k in (NORM, "MODEL.FPN.NORM")}
    if "FPN" not in str(keys.get("MODEL.BACKBONE.NAME", "")).upper():
        norms.pop("MODEL.FPN.NORM", None)
    found = differences(weights, {**keys, NORM: "BN", **norms})
    if not any(found.values()):
        return
    lines = []
    for what in ("missing", "unexpected"):
        if found[what]:
            lines.append(f"  {what}: {len(found[what])} ({summarise(found[what])})")
    lines += [f"  {name} is {a}, detectron2's is {b}" for name, a, b in found["shapes"][:8]]
    raise CheckpointError(
        f"It is not the ResNet-{keys['MODEL.RESNETS.DEPTH']} that detectron2 builds:\n"
        + "\n".join(lines)
    )


def flip_colours(backbone):
    """The same network for the other order of colours: RGB for BGR, or BGR for RGB.

    The first convolution's input channels, the pixel mean and the pixel std change places, so that
    features of an image are the same as before.

    Raises:
        CheckpointError: the order that the network has is not known.
    """
    if FORMAT not in backbone.settings:
        raise CheckpointError("Whether it takes RGB or BGR is not known: state INPUT.FORMAT.")
    order = {"RGB": "BGR", "BGR": "RGB"}[backbone.settings[FORMAT]]
    weights = dict(backbone.weights)
    weights["stem.conv1.weight"] = weights["stem.conv1.weight"].flip(1)
    settings = {**backbone.settings, FORMAT: order}
    for key in COLOUR_KEYS[1:]:
        if key in settings:
            settings[key] = list(settings[key])[::-1]
    return Backbone(weights, settings, backbone.architecture, backbone.recognised,
                    backbone.left_out, backbone.head)  # fmt: skip
