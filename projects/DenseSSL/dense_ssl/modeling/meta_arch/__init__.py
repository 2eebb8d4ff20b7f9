"""The methods by name: each a META_ARCHITECTURE, a fixed composition of objectives."""

from .byol import BYOL
from .dupr import DUPR
from .moco_v2 import MoCoV2
from .multi_objective import MultiObjective
from .point_region_contrast import PointRegionContrast
from .scrl import SCRL

__all__ = ["BYOL", "DUPR", "MoCoV2", "MultiObjective", "PointRegionContrast", "SCRL"]
