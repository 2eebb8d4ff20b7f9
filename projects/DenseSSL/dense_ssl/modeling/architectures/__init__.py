"""Backbones beside detectron2's ResNets, registered by name; docs/backbones.md describes them."""

from . import deep_stem, removed, timm_backbone, vit  # only registration
from .timm_weights import rename_timm_weights

__all__ = ["deep_stem", "removed", "rename_timm_weights", "timm_backbone", "vit"]
