"""The momentum (target) network: a copy of the online network that follows it slowly."""

import copy
import math

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from .dropout import remove_dropout


def momentum_copy(module):
    """A deep copy of ``module`` that takes no gradient.

    The copy keeps norm layers in training mode, so its running statistics are its own; only
    parameters follow the online network (as in BYOL and MoCo). It always runs whole: dropout and
    stochastic depth stay with the online network, as DINO has it.
    """
    target = copy.deepcopy(module)
    remove_dropout(target)
    for parameter in target.parameters():
        parameter.requires_grad_(False)
    return target


@torch.no_grad()
def update_momentum(online, target, momentum):
    """Move every parameter of ``target`` towards ``online``: t <- m t + (1 - m) o.

    Args:
        online, target: modules of the same structure.
        momentum: m in [0, 1].
    """
    targets, sources = list(target.parameters()), list(online.parameters())
    if targets:
        get_ema_multi_avg_fn(momentum)(targets, sources, None)


def momentum_at(iteration, max_iter, base, schedule):
    """Momentum after step ``iteration`` (counted from 0) of ``max_iter``.

    "cosine": 1 - (1 - base) (cos(pi k / K) + 1) / 2, BYOL (Grill et al. 2020), section 3.3.
    "constant": base, MoCo (He et al. 2020).
    """
    if schedule == "constant":
        return base
    if schedule == "cosine":
        return 1 - (1 - base) * (math.cos(math.pi * iteration / max_iter) + 1) / 2
    raise ValueError(
        f"MODEL.SSL.MOMENTUM.SCHEDULE is {schedule!r}; it must be 'cosine' or 'constant'."
    )
