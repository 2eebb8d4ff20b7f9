"""Running both stages: config, launcher, trainer, hooks, writers."""

from .hooks import UpdateTarget
from .launch import launch
from .setup import setup
from .trainer import Trainer

__all__ = ["Trainer", "UpdateTarget", "launch", "setup"]
