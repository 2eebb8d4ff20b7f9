"""Checkpoints: written whole or not at all, handed over to detectors with a report."""

from .checkpointer import Checkpointer
from .handover import backbone_settings, export_backbone

__all__ = ["Checkpointer", "backbone_settings", "export_backbone"]
