"""Procedural scenes: a labelled data set that DenseSSL draws itself, for its demo and its tests."""

from .dataset import GENERATOR_VERSION, write_scenes
from .objects import CLASS_NAMES, MAX_CLASSES
from .scene import Instance, draw_scene
from .spec import SPLITS, SceneSpec

__all__ = [
    "CLASS_NAMES", "GENERATOR_VERSION", "MAX_CLASSES", "SPLITS",
    "Instance", "SceneSpec", "draw_scene", "write_scenes",
]  # fmt: skip
