"""Checkpoints: writing, loading, and handing a backbone over to detectors."""

from .checkpointer import Checkpointer
from .handover import backbone_settings, export_backbone
from .labels import read_labels

__all__ = ["Checkpointer", "backbone_settings", "export_backbone", "read_labels"]
