"""Pre-training models, their objectives, and what detectors need beside detectron2's own parts."""

from . import architectures  # only registration
from .architectures import dilated_resnet  # only registration
from .detectors import roi_heads, sem_seg_head  # only registration
from .methods import (
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
from .objective import OBJECTIVE_REGISTRY, Objective
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
