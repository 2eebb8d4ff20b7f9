"""MODEL.BACKBONE.FREEZE_AT for networks that do not know it."""

from torch import nn

from ..dropout import remove_dropout
from .norms import replace_batch_norms


def freeze_modules(modules):
    """Freeze what comes first in a network, as detectron2 freezes the stages of its ResNets.

    No gradient, batch norms as "FrozenBN", no dropout and no stochastic depth.

    Args:
        modules: (parent, name of a child) pairs.
    """
    for parent, name in modules:
        holder = nn.ModuleDict({"part": getattr(parent, name)})  # the child may be a norm itself
        replace_batch_norms(holder, "FrozenBN")
        setattr(parent, name, holder["part"])
        remove_dropout(holder)
        for parameter in holder.parameters():
            parameter.requires_grad_(False)
