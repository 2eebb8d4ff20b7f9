"""Losses as pure functions of tensors: no config, no state, no collectives."""

from .affinity_distillation import affinity_distillation
from .cosine_distance import cosine_distance
from .emd_distance import emd_distance, marginal_weights
from .info_nce import contrast_statistics, info_nce
from .local_contrast import local_contrast, read_cells
from .nt_xent import nt_xent
from .pixel_consistency import pixel_consistency
from .point_region_contrast import point_region_contrast
from .sinkhorn import sinkhorn

__all__ = [
    "affinity_distillation",
    "contrast_statistics",
    "cosine_distance",
    "emd_distance",
    "info_nce",
    "local_contrast",
    "marginal_weights",
    "nt_xent",
    "pixel_consistency",
    "point_region_contrast",
    "read_cells",
    "sinkhorn",
]
