"""What describes a data set of scenes: its parameters and their limits."""

import operator
from dataclasses import dataclass
from typing import Tuple

from .objects import CLASS_NAMES, MAX_CLASSES

# The number of a split is part of every image's seed: never renumber.
SPLITS = {"unlabeled": 0, "train": 1, "val": 2}
MIN_SIZE, MAX_SIZE = 32, 4096
MAX_OBJECTS = 50


@dataclass(frozen=True)
class SceneSpec:
    """What all scenes of a data set have in common.

    Attributes:
        size: (width, height) in pixels.
        num_classes: the first so many of ``CLASS_NAMES`` appear.
        max_objects: a scene holds 1 to this many objects, fewer where there is no room.
        seed: together with the split and the index it decides everything in a scene.
    """

    size: Tuple[int, int] = (128, 128)
    num_classes: int = 8
    max_objects: int = 5
    seed: int = 0

    def __post_init__(self):
        if len(self.size) != 2:
            raise ValueError(f"size must be (width, height), got {self.size}.")
        # A list is welcome, but a frozen spec must be hashable.
        object.__setattr__(self, "size", tuple(operator.index(side) for side in self.size))
        for name, value, low, high in (
            ("width", self.size[0], MIN_SIZE, MAX_SIZE),
            ("height", self.size[1], MIN_SIZE, MAX_SIZE),
            ("num_classes", self.num_classes, 1, MAX_CLASSES),
            ("max_objects", self.max_objects, 1, MAX_OBJECTS),
            ("seed", self.seed, 0, 2**32 - 1),
        ):
            if not low <= operator.index(value) <= high:
                raise ValueError(f"{name} must be between {low} and {high}, got {value}.")

    @property
    def class_names(self):
        """Names of the classes that appear, in the order of their indices."""
        return CLASS_NAMES[: self.num_classes]
