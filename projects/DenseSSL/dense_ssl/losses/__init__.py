"""Losses as pure functions of tensors: no config, no state, no collectives."""

from .affinity_distillation import affinity_distillation
from .cosine_distance import cosine_distance
from .info_nce import contrast_statistics, info_nce
from .point_region_contrast import point_region_contrast

__all__ = [
    "affinity_distillation",
    "contrast_statistics",
    "cosine_distance",
    "info_nce",
    "point_region_contrast",
]
