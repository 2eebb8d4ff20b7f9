"""The methods by name: each a META_ARCHITECTURE, a fixed composition of objectives."""

from .byol import BYOL
from .dense_cl import DenseCL
from .dupr import DUPR
from .lc_loss import LCLoss
from .moco_v2 import MoCoV2
from .multi_objective import MultiObjective
from .point_region_contrast import PointRegionContrast
from .scrl import SCRL
from .self_emd import SelfEMD

__all__ = [
    "BYOL",
    "DUPR",
    "DenseCL",
    "LCLoss",
    "MoCoV2",
    "MultiObjective",
    "PointRegionContrast",
    "SCRL",
    "SelfEMD",
]
