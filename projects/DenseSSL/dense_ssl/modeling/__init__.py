"""Models of pre-training, and the detector parts that their recipes need."""

from . import roi_heads as _  # noqa: F401  (only registration)
from .meta_arch import BYOL, SCRL
from .objectives import OBJECTIVE_REGISTRY, Objective
from .pretrainer import Pretrainer

__all__ = ["BYOL", "OBJECTIVE_REGISTRY", "Objective", "Pretrainer", "SCRL"]
