"""Optimizers and schedules, on top of detectron2's."""

from .lr_scheduler import build_lr_scheduler
from .optimizer import base_lr, build_optimizer
from .schedule import resolve_epochs

__all__ = ["base_lr", "build_lr_scheduler", "build_optimizer", "resolve_epochs"]
