"""Checkpoints: writing, loading, and handing a backbone over to detectors."""

from .checkpointer import Checkpointer
from .handover import backbone_settings, export_backbone

__all__ = ["Checkpointer", "backbone_settings", "export_backbone"]
