"""One scene: several objects on a cluttered background, with their exact masks and boxes."""

from typing import NamedTuple, Tuple

import cv2
import numpy as np

from .background import backdrop, clutter, develop
from .objects import PAINTERS
from .spec import SPLITS
from .sprite import Pose, lay, paint_sprite

# Sides of objects and clutter, as fractions of the image's shorter side.
OBJECT_SIDES = (0.18, 0.55)
CLUTTER_SIDES = (0.08, 0.3)
MAX_ROTATION = 30.0
# An object that would leave less than this share of another one visible is not drawn.
MIN_VISIBLE = 0.4
ATTEMPTS = 12


class Instance(NamedTuple):
    """One object of a scene.

    Attributes:
        category: index of its class in ``CLASS_NAMES``.
        mask: bool (H, W), the pixels where it covers at least half and no nearer object does.
        bbox: (x, y, width, height) in whole pixels, tight around the mask.
    """

    category: int
    mask: np.ndarray
    bbox: Tuple[int, int, int, int]


def draw_scene(spec, split, index):
    """Draw one scene, always the same for the same arguments and library versions.

    Args:
        spec: :class:`.spec.SceneSpec`.
        split: a key of ``SPLITS``.
        index: number of the image within its split.

    Returns:
        image: uint8 (H, W, 3), RGB.
        instances: list of :class:`Instance`, from the farthest to the nearest; at least one.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}.")
    rng = np.random.default_rng((spec.seed, SPLITS[split], index))
    picture = backdrop(rng, spec.size)
    shadow = rng.uniform((0.1, 0.0, 0.4, 0.0), (0.7, 1.0, 1.0, 0.5)).tolist()
    for _ in range(rng.integers(2, 8)):
        pose = draw_pose(rng, spec.size, CLUTTER_SIDES, 180.0)
        lay(picture, paint_sprite(rng, clutter, pose, spec.size), shadow)
    categories, masks = draw_objects(rng, spec, picture, shadow)
    boxes = [cv2.boundingRect(mask.view(np.uint8)) for mask in masks]
    return develop(rng, picture), [Instance(*x) for x in zip(categories, masks, boxes)]


def draw_objects(rng, spec, picture, shadow):
    """Draw the objects onto ``picture``, leaving out each that finds no place.

    How near to others an object may lie is drawn too, so some touch or overlap and some do not.

    Returns:
        categories: list of class indices, from the farthest object to the nearest.
        masks: list of bool (H, W), disjoint.
    """
    categories, masks, areas, poses = [], [], [], []
    for _ in range(rng.integers(1, spec.max_objects + 1)):
        category, room = int(rng.integers(spec.num_classes)), rng.uniform(0.5, 1.2)
        tries = (draw_pose(rng, spec.size, OBJECT_SIDES, MAX_ROTATION) for _ in range(ATTEMPTS))
        pose = next((x for x in tries if all(x.gap(other) >= room for other in poses)), None)
        if pose is None:
            continue
        sprite = paint_sprite(rng, PAINTERS[category], pose, spec.size)
        front = np.zeros(spec.size[::-1], bool)
        front[sprite.window] = sprite.alpha >= 0.5
        visible = [mask & ~front for mask in masks]
        if all(mask.sum() >= MIN_VISIBLE * area for mask, area in zip(visible, areas)):
            lay(picture, sprite, shadow)
            masks = [*visible, front]
            areas.append(front.sum())
            poses.append(pose)
            categories.append(category)
    return categories, masks


def draw_pose(rng, size, sides, rotation):
    """Draw a :class:`.sprite.Pose`.

    Args:
        rng: numpy Generator.
        size: (width, height) of the image in pixels.
        sides: (low, high) of the object's side as a fraction of the image's shorter side; small
            ones are more frequent (uniform in the square root).
        rotation: the largest rotation in degrees, to either side.
    """
    radius = 0.5 * min(size) * rng.uniform(sides[0] ** 0.5, sides[1] ** 0.5) ** 2
    margin = radius * rng.uniform(0.7, 1.05)
    x, y = (rng.uniform(margin, side - margin) for side in size)
    stretch = rng.uniform(0.88, 1.14) * (1.0 if rng.random() < 0.5 else -1.0)
    return Pose(x, y, radius, rng.uniform(-rotation, rotation), stretch)
