"""What the keys of point-level region contrast may be."""

from ..objective import require_positive

LEVELS = ("point", "region")
NEGATIVES = ("image", "batch", "all")
WARMUP_MODES = ("off", "teacher_temp")


def check_point_region_keys(cfg):
    """Raise where keys of MODEL.PLRC are unknown or do not fit together."""
    node = cfg.MODEL.PLRC
    allowed = {
        "LEVEL": LEVELS,
        "NEGATIVES": NEGATIVES,
        "WARMUP_MODE": WARMUP_MODES,
        "STRATEGY": (1, 2, 3),
    }
    for key, values in allowed.items():
        if node[key] not in values:
            raise ValueError(f"MODEL.PLRC.{key} is {node[key]!r}; it must be one of {values}.")
    for key in ("GRID", "NUM_REGIONS", "NUM_POINTS", "RESOLUTION"):
        if node[key] < 1:
            raise ValueError(f"MODEL.PLRC.{key} is {node[key]}; it must be at least 1.")
    if not (0 <= node.ALPHA <= 1 and 0 <= node.BETA <= 1):
        raise ValueError("MODEL.PLRC.ALPHA and MODEL.PLRC.BETA must lie between 0 and 1.")
    distils = node.ALPHA < 1
    if distils and node.LEVEL == "point" and not node.PAIRED_POINTS:
        raise ValueError(
            "MODEL.PLRC.PAIRED_POINTS is False: distillation compares the same place in both "
            "views. Set it to True, or MODEL.PLRC.ALPHA to 1 for the contrast alone."
        )
    if distils and node.NEGATIVES == "all" and node.STRATEGY != 1:
        raise ValueError(
            f"MODEL.PLRC.STRATEGY {node.STRATEGY} compares query points with each other, which are "
            "not exchanged between processes: set MODEL.PLRC.NEGATIVES to 'batch'."
        )
    temperatures = ("TEMPERATURE", "STUDENT_TEMPERATURE", "TEACHER_TEMPERATURE")
    require_positive(cfg, *(f"MODEL.PLRC.{x}" for x in temperatures))
