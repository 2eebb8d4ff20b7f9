"""Pre-training models, their objectives, and what detectors need beside detectron2's own parts."""

from . import architectures  # only registration
from .architectures import dilated_resnet  # only registration
from .detectors import (  # only registration
    image_classifier,
    roi_classifier,
    roi_heads,
    sem_seg_head,
    window_segmentor,
)
from .memory_bank import MemoryBank
from .methods import (
    BYOL,
    DUPR,
    SCRL,
    DenseCL,
    Distillation,
    LCLoss,
    MoCoV2,
    MultiObjective,
    PixPro,
    PointRegionContrast,
    SelfEMD,
)
from .momentum import momentum_at
from .objective import DIRECTIONS, OBJECTIVE_REGISTRY, Objective
from .pretrainer import Pretrainer

__all__ = [
    "BYOL",
    "DIRECTIONS",
    "DUPR",
    "OBJECTIVE_REGISTRY",
    "SCRL",
    "DenseCL",
    "Distillation",
    "LCLoss",
    "MemoryBank",
    "MoCoV2",
    "MultiObjective",
    "Objective",
    "PixPro",
    "PointRegionContrast",
    "Pretrainer",
    "SelfEMD",
    "momentum_at",
    "architectures",
    "dilated_resnet",
    "image_classifier",
    "roi_classifier",
    "roi_heads",
    "sem_seg_head",
    "window_segmentor",
]
