"""Learning rate schedules: ours by name, everything else detectron2's."""

from detectron2.solver import LRMultiplier
from detectron2.solver import build_lr_scheduler as build_d2_lr_scheduler
from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    CosineParamScheduler,
    LinearParamScheduler,
)


def build_lr_scheduler(cfg, optimizer):
    """The schedule SOLVER.LR_SCHEDULER_NAME.

    "LinearWarmupCosine": linear from WARMUP_FACTOR to 1, then a whole half-cosine from 1 to
    BASE_LR_END / BASE_LR, as BYOL and SCRL have it. (In detectron2's WarmupCosineLR the warm-up
    hides the first part of the cosine instead.) Every other name is detectron2's.
    """
    if cfg.SOLVER.LR_SCHEDULER_NAME != "LinearWarmupCosine":
        return build_d2_lr_scheduler(cfg, optimizer)
    schedule = CosineParamScheduler(1.0, cfg.SOLVER.BASE_LR_END / cfg.SOLVER.BASE_LR)
    warmup = cfg.SOLVER.WARMUP_ITERS / cfg.SOLVER.MAX_ITER
    if 0 < warmup < 1:
        schedule = CompositeParamScheduler(
            [LinearParamScheduler(cfg.SOLVER.WARMUP_FACTOR, 1.0), schedule],
            lengths=[warmup, 1 - warmup],
            interval_scaling=["rescaled", "rescaled"],
        )
    return LRMultiplier(optimizer, multiplier=schedule, max_iter=cfg.SOLVER.MAX_ITER)
