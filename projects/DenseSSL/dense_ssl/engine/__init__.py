"""Running both stages: config, launcher, trainer, hooks, writers."""

from .hooks import UpdateTarget
from .launch import launch
from .run import evaluate, run
from .setup import setup
from .trainer import Trainer

__all__ = ["Trainer", "UpdateTarget", "evaluate", "launch", "run", "setup"]
