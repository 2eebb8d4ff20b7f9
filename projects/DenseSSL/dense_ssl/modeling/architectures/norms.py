"""Replacing the batch norm layers of a network by those of the config."""

from functools import cache

from detectron2.layers import get_norm
from torch import nn

_STATE = ("weight", "bias", "running_mean", "running_var")


def replace_batch_norms(module, norm):
    """Replace every batch norm layer below ``module`` by ``norm``, in place.

    Names, values, ``eps`` and momentum stay, and so does the activation that is part of timm's
    batch norm layers. Layer norm and group norm are left alone.

    Args:
        module: network; not itself a normalisation layer.
        norm: detectron2's name, such as "SyncBN" or "FrozenBN".
    """
    for name, child in module.named_children():
        if isinstance(child, (nn.BatchNorm2d, nn.SyncBatchNorm)):
            setattr(module, name, _replacement(child, norm))
        else:
            replace_batch_norms(child, norm)


def _replacement(old, norm):
    new = get_norm(norm, old.num_features)
    if hasattr(new, "momentum"):
        new.momentum = old.momentum
    if hasattr(new, "running_mean"):
        new.eps = old.eps
    for key in _STATE:
        if getattr(new, key, None) is not None and getattr(old, key, None) is not None:
            getattr(new, key).data.copy_(getattr(old, key).data)
    if hasattr(old, "act"):  # timm's BatchNormAct2d
        new.__class__ = _with_activation(type(new))
        new.drop, new.act = old.drop, old.act
    return new


@cache
def _with_activation(kind):
    """Return a subclass of ``kind`` that ends in ``drop`` and ``act``; tensor names stay."""

    def forward(self, x):
        return self.act(self.drop(kind.forward(self, x)))

    return type(f"{kind.__name__}Act", (kind,), {"forward": forward})
