"""Pre-training models, their objectives, and what detectors need beside detectron2's own parts."""

from . import meta_arch, roi_heads  # only registration
from .objectives import OBJECTIVE_REGISTRY, Objective
from .pretrainer import Pretrainer

__all__ = ["OBJECTIVE_REGISTRY", "Objective", "Pretrainer", "meta_arch", "roi_heads"]
