"""Which project's checkpoint a file is, and where in it the network lies."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from .layouts import CAFFE2, LAYOUTS, MOMENTUM, ONLINE, UNKNOWN_PROJECT, Layout, Place
from .naming import SIGNS
from .reading import CheckpointError
from .sources import UNKNOWN

_WRAPPERS = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
# tensors that only other architectures have, and what those are
_OTHER_NETWORKS = (
    ("patch_embed.", "a vision transformer"),
    ("cls_token", "a vision transformer"),
    ("conv1.0.weight", "a ResNet with a deep stem (timm's -c, -d, -s and -t variants)"),
    ("stem.0.weight", "a network with a deep stem (OpenMMLab's ResNetV1c or V1d, ConvNeXt, ...)"),
    ("features.0.", "a MobileNet, VGG, Swin or another network of torchvision"),
)


@dataclass(frozen=True)
class Recognised:
    """What a checkpoint is.

    Attributes:
        layout: its :class:`~.layouts.Layout`.
        encoder: "online" or "momentum".
        place: where that encoder is.
        tensors: {name without wrappers: tensor or array}, of the place's container.
        others: encoders that the file holds besides.
    """

    layout: Layout
    encoder: str
    place: Place
    tensors: dict
    others: tuple = ()


def recognise(checkpoint, layout=None, encoder=None, prefix=None):
    """Find the network in a checkpoint.

    Args:
        checkpoint: content of the file, a dict.
        layout: name of a layout of :data:`~.layouts.LAYOUTS` to take; None finds it.
        encoder: "online" or "momentum"; None takes what the project itself transfers.
        prefix: where the names of an unknown project's encoder start.

    Returns:
        Recognised

    Raises:
        CheckpointError: it is none of them, or several networks could be meant.
    """
    if is_caffe2(checkpoint):
        tensors = state_dict_at(checkpoint, ("blobs",)) or state_dict_at(checkpoint, ())
        return Recognised(CAFFE2, ONLINE, Place((), ""), tensors)
    if prefix is not None:
        return _unknown_project(checkpoint, prefix)
    candidates = [x for x in LAYOUTS if x.automatic] if layout is None else _by_name(layout)
    for candidate in candidates:
        found = _fit(candidate, checkpoint)
        if found:
            return _choose(candidate, found, encoder)
    if layout is not None:
        raise CheckpointError(
            f"The file is not laid out as --layout {layout} says: it holds {outline(checkpoint)}."
        )
    return _unknown_project(checkpoint, None)


def _by_name(name):
    named = [x for x in LAYOUTS if x.name == name]
    if not named:
        known = ", ".join(dict.fromkeys(x.name for x in LAYOUTS))
        raise CheckpointError(f"There is no layout {name!r}. Known: {known}.")
    return named


def _fit(layout, checkpoint):
    """{encoder: (place, tensors)} where a checkpoint has the layout, else {}."""
    if any(key not in checkpoint for key in layout.keys):
        return {}
    found = {}
    for encoder in (ONLINE, MOMENTUM):
        for place in layout.places(encoder):
            tensors = state_dict_at(checkpoint, place.container)
            if not tensors or not holds_network(tensors, place.prefix, layout.naming):
                continue
            if all(any(x.startswith(name) for x in tensors) for name in layout.names):
                found[encoder] = (place, tensors)
                break
    # the average alone is a find only where it is what the project hands on
    return found if ONLINE in found or layout.transfers in found else {}


def _choose(layout, found, encoder):
    wanted = encoder or (layout.transfers if layout.transfers in found else ONLINE)
    if wanted not in found:
        raise CheckpointError(
            f"The file is {layout.title}; it holds no {wanted} encoder, only {', '.join(found)}."
        )
    place, tensors = found[wanted]
    return Recognised(layout, wanted, place, tensors, tuple(x for x in found if x != wanted))


def _unknown_project(checkpoint, prefix):
    """A ResNet of which only the names are known: the one that there is, or that behind prefix."""
    found = {}
    for container in _containers(checkpoint):
        tensors = state_dict_at(checkpoint, container)
        for naming in ("torchvision", "index"):
            sign = SIGNS[naming][0]
            for name in tensors:
                start = name[: -len(sign)]
                if name.endswith(sign) and (not start or start.endswith(".")):
                    if holds_network(tensors, start, naming):
                        found.setdefault(start, (naming, Place(container, start), tensors))
    if prefix is None and len(found) == 1:
        (prefix,) = found
    if prefix is None and found:
        raise CheckpointError(
            f"The file is of no project known here and holds {len(found)} networks, behind "
            f"{', '.join(map(repr, found))}: say which with --prefix."
        )
    if prefix not in found:
        raise CheckpointError(_nothing_found(checkpoint, prefix))
    naming, place, tensors = found[prefix]
    layout = Layout(UNKNOWN_PROJECT, f"a {naming}-style ResNet of an unknown project",
                    naming=naming, settings=UNKNOWN)  # fmt: skip
    return Recognised(replace(layout, online=(place,)), ONLINE, place, tensors)


def _nothing_found(checkpoint, prefix):
    where = "no ResNet was found in it" if prefix is None else f"there is no ResNet behind {prefix}"
    for container in _containers(checkpoint):
        for name in state_dict_at(checkpoint, container):
            for part, meaning in _OTHER_NETWORKS:
                if name.startswith(part) or f".{part}" in name:
                    return f"This is {meaning} ({name}), not a ResNet as detectron2 builds it."
    return f"{where[0].upper()}{where[1:]}: it holds {outline(checkpoint)}."


def outline(checkpoint):
    """What a checkpoint holds, for messages: keys, and the first parts of its names."""
    parts = []
    for container in _containers(checkpoint):
        tensors = state_dict_at(checkpoint, container)
        starts = Counter(".".join(x.split(".")[:2]) for x in tensors)
        shown = ", ".join(f"{x}.* ({n})" if n > 1 else x for x, n in list(starts.items())[:8])
        more = f", and {len(starts) - 8} more" if len(starts) > 8 else ""
        where = f"under {'/'.join(container)}: " if container else ""
        parts.append(f"{where}{shown}{more}")
    if not parts:
        return f"no tensors, but the keys {', '.join(map(repr, list(checkpoint)[:8]))}"
    return "; ".join(parts)


def is_caffe2(checkpoint):
    """Whether these are Caffe2's names, as in detectron2's ImageNet weights."""
    blobs = checkpoint.get("blobs", checkpoint)
    return isinstance(blobs, Mapping) and "conv1_w" in blobs and "res_conv1_bn_s" in blobs


def holds_network(tensors, prefix, naming):
    """Whether a ResNet of a naming lies behind a prefix."""
    prefixes = [prefix, f"{prefix}bottom_up."] if naming == "detectron2" else [prefix]
    return any(all(start + sign in tensors for sign in SIGNS[naming]) for start in prefixes)


def state_dict_at(checkpoint, container):
    """The tensors under the keys ``container``, without what wrapped the model; {} if none."""
    for key in container:
        checkpoint = checkpoint.get(key) if isinstance(checkpoint, Mapping) else None
    if not isinstance(checkpoint, Mapping):
        return {}
    return {
        _unwrapped(name): x
        for name, x in checkpoint.items()
        if isinstance(name, str) and isinstance(x, (torch.Tensor, np.ndarray))
    }


def _unwrapped(name):
    while name.startswith(_WRAPPERS):
        name = name[name.index(".") + 1 :]
    return name


def _containers(checkpoint, depth=3):
    """Paths of keys to every dict of tensors."""
    holds_tensors = any(isinstance(x, (torch.Tensor, np.ndarray)) for x in checkpoint.values())
    paths = [()] if holds_tensors else []
    if depth:
        for key, value in checkpoint.items():
            if isinstance(value, Mapping) and isinstance(key, str):
                paths += [(key, *path) for path in _containers(value, depth - 1)]
    return paths
