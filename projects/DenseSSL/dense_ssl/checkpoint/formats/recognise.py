"""Which project's checkpoint a file is, and where in it the network is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from .families import CAFFE2, FAMILIES, MOMENTUM, ONLINE, UNKNOWN, Family
from .naming import SIGNS
from .reading import CheckpointError
from .report import grouped

_NEUTRAL = ((), ("state_dict",), ("model",))
# Of DistributedDataParallel, of torch.compile, and of byol-pytorch's example for Lightning.
_WRAPPERS = ("module.", "_orig_mod.", "learner.")
# Tensors that only other architectures have.
_OTHER_NETWORKS = (
    ("patch_embed.", "a vision transformer"),
    ("cls_token", "a vision transformer"),
    ("conv1.0.weight", "a ResNet with a deep stem (timm's -c, -d, -s and -t variants)"),
    ("stem.0.weight", "a network with a deep stem (OpenMMLab's ResNetV1c or V1d, ConvNeXt, ...)"),
    ("features.0.", "a MobileNet, VGG, Swin or another network of torchvision"),
)


@dataclass(frozen=True)
class Network:
    """A ResNet in a checkpoint.

    Attributes:
        container: keys of the nested dicts that lead to its tensors.
        prefix: of its names.
        naming: key of :data:`~.naming.SIGNS`.
        tensors: {name without wrappers: tensor or array}, all of the container.
    """

    container: tuple
    prefix: str
    naming: str
    tensors: dict

    @property
    def places(self):
        where = "".join(f"{x}/" for x in self.container)
        neutral = {self.prefix} if self.container in _NEUTRAL else set()
        return {where + self.prefix} | neutral


@dataclass(frozen=True)
class Recognised:
    """What a checkpoint is: its family, the encoder that is taken, and the others it holds."""

    family: Family
    encoder: str
    network: Network
    others: tuple = ()

    @property
    def is_native(self):
        """True for what detectron2 reads as it is, or cannot be told apart from it."""
        return self.network.naming == "detectron2" or self.family is UNKNOWN


def recognise(checkpoint, encoder=None, prefix=None):
    """Find the network in a checkpoint.

    Args:
        checkpoint: content of the file, a dict.
        encoder: "online" or "momentum"; None takes what the project itself transfers.
        prefix: take the network whose names start with this; for files of unknown projects.

    Raises:
        CheckpointError: there is no ResNet, or several could be meant.
    """
    blobs = checkpoint.get("blobs", checkpoint)
    if isinstance(blobs, Mapping) and "conv1_w" in blobs and "res_conv1_bn_s" in blobs:
        return Recognised(CAFFE2, ONLINE, Network((), "", "detectron2", _tensors_of(blobs)))
    networks = list(_networks(checkpoint))
    if prefix is not None:
        networks = [x for x in networks if x.prefix == prefix]
    for family in FAMILIES:
        found = _members(family, networks, checkpoint) if prefix is None else {}
        if family.transfers in found or ONLINE in found:
            return _choose(family, found, encoder)
    return Recognised(UNKNOWN, ONLINE, _only_one(networks, checkpoint, prefix))


def _members(family, networks, checkpoint):
    """Return {encoder: network} of a family; {} if the file is not of this family."""
    namings = (family.naming,) if family.naming else ("torchvision", "index")
    found = {}
    for encoder, places in ((ONLINE, family.online), (MOMENTUM, family.momentum)):
        for place in places:
            fitting = [x for x in networks if x.naming in namings and place in x.places]
            if fitting:
                found.setdefault(encoder, fitting[0])
    names = {name for x in found.values() for name in x.tensors}
    is_marked = any(mark in checkpoint or any(x.startswith(mark) for x in names)
                    for mark in family.marks)  # fmt: skip
    return found if is_marked or not family.marks else {}


def _choose(family, found, encoder):
    encoder = encoder or (family.transfers if family.transfers in found else ONLINE)
    if encoder not in found:
        raise CheckpointError(
            f"The file is {family.title}; it holds no {encoder} encoder, only {', '.join(found)}."
        )
    return Recognised(family, encoder, found[encoder], tuple(x for x in found if x != encoder))


def _only_one(networks, checkpoint, prefix):
    prefixes = dict.fromkeys(x.prefix for x in networks)
    if len(prefixes) > 1:
        raise CheckpointError(
            f"The file is not from a known project and holds {len(prefixes)} networks, with the "
            f"prefixes {', '.join(map(repr, prefixes))}: choose one with --prefix."
        )
    if networks:
        return networks[0]
    containers = dict(_containers(checkpoint))
    for tensors in containers.values():
        for name in tensors:
            for part, meaning in _OTHER_NETWORKS:
                if name.startswith(part) or f".{part}" in name:
                    raise CheckpointError(
                        f"This is {meaning} ({name}), not a ResNet as detectron2 builds it."
                    )
    what = "No ResNet was found in it" if prefix is None else f"It has no ResNet at {prefix}"
    holds = [
        f"{'/'.join(key)}: {grouped(x)}" if key else grouped(x) for key, x in containers.items()
    ]
    keys = f"no tensors, but the keys {', '.join(map(repr, list(checkpoint)[:8]))}"
    raise CheckpointError(f"{what}: it holds {'; '.join(holds) or keys}.")


def _networks(checkpoint):
    """Yield each :class:`Network` of a checkpoint."""
    for container, tensors in _containers(checkpoint):
        for naming, (first, second) in SIGNS.items():
            for name in [x for x in tensors if x == first or x.endswith(f".{first}")]:
                prefix = name[: -len(first)]
                if f"{prefix}{second}" in tensors:
                    # an FPN is taken together with the network below it
                    prefix = re.sub(r"(^|\.)bottom_up\.$", r"\1", prefix)
                    yield Network(container, prefix, naming, tensors)


def _containers(checkpoint, path=()):
    """Yield (keys that lead to it, its tensors) of each dict of tensors, four levels deep."""
    tensors = _tensors_of(checkpoint)
    if tensors:
        yield path, tensors
    for key, value in checkpoint.items():
        if isinstance(value, Mapping) and isinstance(key, str) and len(path) < 4:
            yield from _containers(value, (*path, key))


def _tensors_of(data):
    """Return {name without what wrapped the model: tensor or array}."""
    return {
        _unwrapped(name): x
        for name, x in data.items()
        if isinstance(name, str) and isinstance(x, (torch.Tensor, np.ndarray))
    }


def _unwrapped(name):
    while name.startswith(_WRAPPERS):
        name = name[name.index(".") + 1 :]
    return name
