"""The methods, one per file: keys, objective, META_ARCHITECTURE."""

from .box_batch_contrast import BoxBatchContrastObjective
from .box_contrast import BoxContrastObjective
from .byol import BYOL, BYOLObjective
from .dense_cl import DenseCL, DenseCLObjective
from .distillation import Distillation, DistillationObjective
from .dupr import DUPR, DUPRObjective
from .lc_loss import LCLoss, LCObjective
from .moco_v2 import MoCoObjective, MoCoV2
from .multi_objective import MultiObjective
from .pixpro import PixPro, PixProObjective
from .point_region_contrast import PointRegionContrast, PointRegionObjective
from .scrl import SCRL, SCRLObjective
from .self_emd import SelfEMD, SelfEMDObjective

__all__ = [
    "BYOL",
    "BYOLObjective",
    "BoxBatchContrastObjective",
    "BoxContrastObjective",
    "DUPR",
    "DUPRObjective",
    "DenseCL",
    "DenseCLObjective",
    "Distillation",
    "DistillationObjective",
    "LCLoss",
    "LCObjective",
    "MoCoObjective",
    "MoCoV2",
    "MultiObjective",
    "PixPro",
    "PixProObjective",
    "PointRegionContrast",
    "PointRegionObjective",
    "SCRL",
    "SCRLObjective",
    "SelfEMD",
    "SelfEMDObjective",
]
