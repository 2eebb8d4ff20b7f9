"""Backbones beside detectron2's ResNets, registered by name; docs/backbones.md describes them.

What the installed detectron2 does not have (v0.6: no ViT, no Swin) is not registered.
"""

from . import deep_stem, regnet, swin, timm_backbone, vit  # only registration
from .timm_weights import rename_timm_weights

__all__ = ["deep_stem", "regnet", "rename_timm_weights", "swin", "timm_backbone", "vit"]
