"""Learning rate schedules: two of our own, and detectron2's, one with its end fixed."""

from detectron2.solver import LRMultiplier, WarmupParamScheduler
from detectron2.solver import build_lr_scheduler as build_d2_lr_scheduler
from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    CosineParamScheduler,
    LinearParamScheduler,
    ParamScheduler,
    StepWithFixedGammaParamScheduler,
)


def build_lr_scheduler(cfg, optimizer):
    """Build the schedule SOLVER.LR_SCHEDULER_NAME.

    "LinearWarmupCosine": linear from WARMUP_FACTOR to 1, then a whole half-cosine from 1 to
    BASE_LR_END / BASE_LR, as in BYOL and SCRL. (In detectron2's WarmupCosineLR the warm-up replaces
    the first part of the cosine instead.)

    "WarmupPolyLR": (1 - iteration / MAX_ITER) ** POLY_LR_POWER, scaled to end at BASE_LR_END /
    BASE_LR, as in DeepLab and mmsegmentation; the warm-up replaces its first part.

    "WarmupStepWithFixedGammaLR" is detectron2's, which fails after the last step, when it is asked
    for one more rate; every other name is detectron2's own.
    """
    if cfg.SOLVER.BASE_LR <= 0:
        raise ValueError(f"SOLVER.BASE_LR is {cfg.SOLVER.BASE_LR}: give a learning rate above 0.")
    builders = {
        "LinearWarmupCosine": _linear_warmup_cosine,
        "WarmupPolyLR": _warmup_poly,
        "WarmupStepWithFixedGammaLR": _fixed_gamma,
    }
    if cfg.SOLVER.LR_SCHEDULER_NAME not in builders:
        return build_d2_lr_scheduler(cfg, optimizer)
    schedule = builders[cfg.SOLVER.LR_SCHEDULER_NAME](cfg.SOLVER)
    return LRMultiplier(optimizer, multiplier=schedule, max_iter=cfg.SOLVER.MAX_ITER)


class PolynomialParamScheduler(ParamScheduler):
    """``end + (1 - end) * (1 - where) ** power``, with where from 0 to 1."""

    def __init__(self, power, end):
        self.power = power
        self.end = end

    def __call__(self, where):
        return self.end + (1 - self.end) * (1 - where) ** self.power


class BeforeTheEnd(ParamScheduler):
    """A schedule without a value at its end: there it keeps its last one."""

    def __init__(self, schedule, max_iter):
        self.schedule, self.last = schedule, 1 - 0.5 / max_iter

    def __call__(self, where):
        return self.schedule(min(where, self.last))


def _linear_warmup_cosine(node):
    schedule = CosineParamScheduler(1.0, node.BASE_LR_END / node.BASE_LR)
    warmup = node.WARMUP_ITERS / node.MAX_ITER
    if 0 < warmup < 1:
        schedule = CompositeParamScheduler(
            [LinearParamScheduler(node.WARMUP_FACTOR, 1.0), schedule],
            lengths=[warmup, 1 - warmup],
            interval_scaling=["rescaled", "rescaled"],
        )
    return schedule


def _warmup_poly(node):
    schedule = PolynomialParamScheduler(node.POLY_LR_POWER, node.BASE_LR_END / node.BASE_LR)
    return _warmed_up(schedule, node)


def _fixed_gamma(node):
    schedule = StepWithFixedGammaParamScheduler(1.0, node.NUM_DECAYS, node.GAMMA, node.MAX_ITER)
    # detectron2 v0.6 has no such key
    more = {"rescale_interval": True} if node.get("RESCALE_INTERVAL") else {}
    return _warmed_up(BeforeTheEnd(schedule, node.MAX_ITER), node, **more)


def _warmed_up(schedule, node, **more):
    """Return detectron2's warm-up, which replaces the first part of a schedule."""
    warmup = min(node.WARMUP_ITERS / node.MAX_ITER, 1.0)
    return WarmupParamScheduler(schedule, node.WARMUP_FACTOR, warmup, node.WARMUP_METHOD, **more)
