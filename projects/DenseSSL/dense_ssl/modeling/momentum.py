"""The momentum (target) network: a copy of the online network that follows it slowly."""

import copy
import math

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..utils.checks import require_one_of
from .dropout import remove_dropout

SCHEDULES = ("cosine", "constant")


def momentum_copy(module):
    """A deep copy of ``module`` that takes no gradient.

    Its batch norms stay in training mode and have running statistics of their own; only parameters
    follow the online network (as in BYOL and MoCo). It has no dropout and no stochastic depth, as
    in DINO.
    """
    target = copy.deepcopy(module)
    remove_dropout(target)
    for parameter in target.parameters():
        parameter.requires_grad_(False)
    return target


@torch.no_grad()
def update_momentum(online, target, momentum):
    """Move every parameter of ``target`` towards ``online``: t <- m t + (1 - m) o.

    MoCo (He et al. 2020), Eq. 2; BYOL (Grill et al. 2020), Eq. 1; Self-EMD (Liu et al. 2021),
    Eq. 1.

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
    require_one_of("MODEL.SSL.MOMENTUM.SCHEDULE", schedule, SCHEDULES)
    if schedule == "constant":
        return base
    return 1 - (1 - base) * (math.cos(math.pi * iteration / max_iter) + 1) / 2
