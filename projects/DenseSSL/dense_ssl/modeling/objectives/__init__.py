"""Objectives of pre-training, one per file."""

from .base import OBJECTIVE_REGISTRY, Objective
from .byol import BYOLObjective
from .dupr import DUPRObjective
from .moco import MoCoObjective
from .point_region import PointRegionObjective
from .scrl import SCRLObjective

__all__ = [
    "OBJECTIVE_REGISTRY",
    "BYOLObjective",
    "DUPRObjective",
    "MoCoObjective",
    "Objective",
    "PointRegionObjective",
    "SCRLObjective",
]
