"""Running both stages: config, launcher, trainer, hooks, writers."""

from .hooks import UpdateTarget
from .launch import launch
from .run import evaluate, run, run_command
from .setup import setup
from .trainer import Trainer

__all__ = ["Trainer", "UpdateTarget", "evaluate", "launch", "run", "run_command", "setup"]
