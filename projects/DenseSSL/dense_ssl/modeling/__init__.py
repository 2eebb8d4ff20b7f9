"""Pre-training models, their objectives, and what detectors need beside detectron2's own parts."""

from . import architectures, dilated_resnet, roi_heads, sem_seg_head  # only registration
from .meta_arch import (
    BYOL,
    DUPR,
    SCRL,
    DenseCL,
    LCLoss,
    MoCoV2,
    MultiObjective,
    PointRegionContrast,
    SelfEMD,
)
from .objectives import OBJECTIVE_REGISTRY, Objective
from .pretrainer import Pretrainer

__all__ = [
    "BYOL",
    "DUPR",
    "OBJECTIVE_REGISTRY",
    "SCRL",
    "DenseCL",
    "LCLoss",
    "MoCoV2",
    "MultiObjective",
    "Objective",
    "PointRegionContrast",
    "Pretrainer",
    "SelfEMD",
    "architectures",
    "dilated_resnet",
    "roi_heads",
    "sem_seg_head",
]
