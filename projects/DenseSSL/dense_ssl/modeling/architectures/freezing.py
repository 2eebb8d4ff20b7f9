"""MODEL.BACKBONE.FREEZE_AT for networks of timm."""

from torch import nn

from ..dropout import remove_dropout
from .norms import replace_batch_norms


def freeze_stages(body, freeze_at, name):
    """Freeze the first stages of a network as detectron2 does for its ResNets.

    Frozen parts have no gradient, "FrozenBN" for batch norm, no dropout and no stochastic depth.

    Args:
        body: ``features_only`` network of timm, changed in place.
        freeze_at: 1 freezes what comes before the blocks of res2, 2 these blocks as well, and so
            on.
        name: of the network in timm, for the error.

    Raises:
        ValueError: the network does not have that many stages that run one after the other.
    """
    steps = _steps(body)
    names = [step for step, _, _ in steps]
    last = {x["reduction"]: x["module"].replace(".", "_") for x in body.feature_info.info}
    stops = [names.index(last[s]) + 1 for s in (4, 8, 16, 32) if last.get(s) in names]
    if len(stops) < freeze_at - 1 or not stops:
        raise ValueError(
            f"MODEL.BACKBONE.FREEZE_AT is {freeze_at}, but MODEL.TIMM.NAME {name!r} has "
            f"{len(stops)} stages that can be frozen one by one. Set it to 0, or freeze the "
            "whole backbone by MODEL.FREEZE_BACKBONE True."
        )
    count = stops[0] - 1 if freeze_at == 1 else stops[freeze_at - 2]
    for _, parent, child in steps[:count]:
        _freeze(parent, child)


def _steps(body):
    """Return what runs one after the other: [(timm's name with "_" for ".", parent, child name)].

    Empty for networks with parallel branches, such as HRNet.
    """
    from timm.models import FeatureListNet

    if not isinstance(body, FeatureListNet) and not hasattr(body, "conv_stem"):
        return []
    steps = []
    for name, child in body.named_children():
        if isinstance(child, nn.Sequential) and name == "blocks":
            steps += [(f"{name}_{x}", child, x) for x, _ in child.named_children()]
        else:
            steps.append((name, body, name))
    return steps


def _freeze(parent, name):
    holder = nn.ModuleDict({"part": getattr(parent, name)})  # the part may itself be a batch norm
    replace_batch_norms(holder, "FrozenBN")
    setattr(parent, name, holder["part"])
    remove_dropout(holder)
    holder.requires_grad_(False)
