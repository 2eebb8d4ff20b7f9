"""Objectives of pre-training, one per file."""

from .base import OBJECTIVE_REGISTRY, Objective
from .byol import BYOLObjective
from .scrl import SCRLObjective

__all__ = ["OBJECTIVE_REGISTRY", "BYOLObjective", "Objective", "SCRLObjective"]
