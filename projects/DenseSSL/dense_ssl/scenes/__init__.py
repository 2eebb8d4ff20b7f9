"""Procedural scenes: the data set that DenseSSL carries in itself, for its demo and its tests."""

from .classes import CLASS_NAMES, MAX_CLASSES
from .dataset import GENERATOR_VERSION, write_scenes
from .scene import Instance, draw_scene
from .spec import SPLITS, SceneSpec

__all__ = [
    "CLASS_NAMES",
    "GENERATOR_VERSION",
    "MAX_CLASSES",
    "SPLITS",
    "Instance",
    "SceneSpec",
    "draw_scene",
    "write_scenes",
]
