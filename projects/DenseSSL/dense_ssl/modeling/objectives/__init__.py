"""Objectives of pre-training, one per file."""

from .base import OBJECTIVE_REGISTRY, Objective
from .box_contrast import BoxContrastObjective
from .byol import BYOLObjective
from .dupr import DUPRObjective
from .lc_loss import LCObjective
from .moco import MoCoObjective
from .point_region import PointRegionObjective
from .scrl import SCRLObjective
from .self_emd import SelfEMDObjective

__all__ = [
    "OBJECTIVE_REGISTRY",
    "BYOLObjective",
    "BoxContrastObjective",
    "DUPRObjective",
    "LCObjective",
    "MoCoObjective",
    "Objective",
    "PointRegionObjective",
    "SCRLObjective",
    "SelfEMDObjective",
]
