"""A frozen network that sees the views and describes each of their cells.

Shapes: N images, D channels of the teacher, a map of h x w cells.
"""

import hashlib
from collections import namedtuple

import torch
from torch import nn
from torch.nn import functional as F

from ..losses.precision import at_least_float32

KEY = "MODEL.DISTILLATION.TEACHER"
# What the identity in a checkpoint holds: a SHA-256 of the weights, then the name, in bytes.
_DIGEST, _NAME = 32, 160

# What a teacher says of some images: cells (N, D, h, w), and one vector for each image (N, D').
Description = namedtuple("Description", "cells image")


class Teacher(nn.Module):
    """A frozen network of timm.

    It takes the views as the backbone gets them, and brings them to its own colours and size. The
    network is no submodule: it has no part in ``parameters()``, in the checkpoint, in the momentum
    update, nor in ``train()``; it only follows to another device or type. The checkpoint holds its
    identity instead, and refuses another teacher.
    """

    def __init__(self, network, *, name, stride, colours, scale=1.0):
        """
        Args:
            network: of timm, see :func:`~.teacher_network.create_teacher_network`.
            name: of the network in timm.
            stride: pixels of its input per cell: the patch size of a ViT.
            colours: :class:`Colours`, from the views to the network.
            scale: enlarge the views by this factor, which gives more cells.
        """
        super().__init__()
        # in a list, where nn.Module does not look for submodules
        self._networks = [network.eval().requires_grad_(False)]
        self.stride, self.scale, self.colours = stride, scale, colours
        self.register_buffer("identity", identity_of(name, network))

    @torch.no_grad()
    def forward(self, images):
        """Describe views.

        Args:
            images: (N, 3, H, W), normalised as for the backbone.

        Returns:
            :class:`Description` in float32 or better, without gradient. The cells divide the view
            evenly; tokens that belong to no cell (class, registers) are not among them.
        """
        images = resized(self.colours(images), [self._side(x) for x in images.shape[2:]])
        (network,) = self._networks
        last, maps = network.forward_intermediates(images, indices=1, norm=True)
        image = network.forward_head(last, pre_logits=True)
        return Description(at_least_float32(maps[-1]), at_least_float32(image))

    def _side(self, pixels):
        """The multiple of the stride next to a side of a view."""
        return max(round(pixels * self.scale / self.stride), 1) * self.stride

    def _apply(self, fn, recurse=True):
        for network in self._networks:
            network._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        saved = state_dict.get(f"{prefix}identity")
        if saved is not None and not torch.equal(saved.cpu(), self.identity.cpu()):
            raise ValueError(
                f"The checkpoint learned from the teacher {describe(saved)}, but {KEY}.NAME and "
                f"{KEY}.WEIGHTS give {describe(self.identity)}. Set both as they were. To go on "
                "with another teacher, start a new run from the old one's backbone.pkl "
                "(MODEL.WEIGHTS, without --resume)."
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class Colours(nn.Module):
    """From pixels normalised for the backbone, RGB or BGR, to those normalised for the teacher."""

    def __init__(self, view_mean, view_std, view_format, mean, std):
        """
        Args:
            view_mean, view_std: MODEL.PIXEL_MEAN and PIXEL_STD: of 0 to 255, in the order of
                ``view_format``.
            view_format: INPUT.FORMAT, "RGB" or "BGR".
            mean, std: of the teacher: of 0 to 1, RGB.
        """
        super().__init__()
        self.is_bgr = view_format == "BGR"
        order = slice(None, None, -1 if self.is_bgr else 1)
        view_mean, view_std, mean, std = (
            torch.as_tensor(x, dtype=torch.float64).view(3, 1, 1)
            for x in (view_mean[order], view_std[order], mean, std)
        )
        # (x * view_std + view_mean) / 255 are the pixels
        self.register_buffer("gain", (view_std / 255 / std).float(), False)
        self.register_buffer("offset", ((view_mean / 255 - mean) / std).float(), False)

    def forward(self, images):
        """(N, 3, H, W) -> (N, 3, H, W)."""
        if self.is_bgr:
            images = images.flip(1)
        return images * self.gain + self.offset


def resized(maps, size):
    """Resize maps or images edge to edge, (N, C, H, W) -> (N, C, *size).

    A cell of the result is the bilinear reading at its centre. Where the result is coarser, it is a
    mean of all cells below it, weighted by a triangle around its centre.
    """
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False, antialias=True)


def identity_of(name, network):
    """Return what tells a teacher from others, uint8 (192,): a hash of its weights, its name."""
    digest, state = hashlib.sha256(), network.state_dict()
    for key in sorted(state):
        digest.update(key.encode())
        if not state[key].is_meta:
            values = state[key].detach().cpu().contiguous().flatten()
            digest.update(values.view(torch.uint8).numpy().tobytes())
    content = digest.digest() + name.encode()[:_NAME].ljust(_NAME, b"\0")
    return torch.tensor(list(content), dtype=torch.uint8)


def describe(identity):
    """Return the name and the start of the hash of an identity."""
    content = bytes(identity.cpu().tolist())
    return f"{content[_DIGEST:].rstrip(bytes(1)).decode()!r} (SHA-256 {content[:6].hex()}...)"
