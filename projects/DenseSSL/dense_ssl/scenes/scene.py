"""One scene: several objects on a cluttered background, with their exact masks and boxes."""

from typing import NamedTuple, Tuple

import numpy as np

from .background import backdrop, clutter, develop, light
from .classes import PAINTERS
from .palette import palette
from .placement import all_visible, cover, draw_pose, find_place, image_mask, tight_box
from .spec import SPLITS
from .sprite import Sprite
from .stream import Stream

# Sides of objects and clutter, as fractions of the image's shorter side.
OBJECT_SIDES = (0.18, 0.55)
CLUTTER_SIDES = (0.08, 0.3)
MAX_ROTATION = 30.0


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


class Shadow(NamedTuple):
    """How all things of a scene cast shadows: shift in object radii, see ``cast_shadow``."""

    x: float
    y: float
    softness: float
    strength: float


def draw_scene(spec, split, index):
    """Draw one scene, the same on every machine.

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
    stream = Stream(spec.seed, SPLITS[split], index)
    picture = backdrop(stream, spec.size)
    things = draw_clutter(stream, spec.size)
    categories, sprites, masks = draw_objects(stream, spec)
    shadow = Shadow(
        x=stream.uniform(-0.3, 0.3),
        y=stream.uniform(0.0, 0.3),
        softness=stream.uniform(0.1, 0.6),
        strength=stream.uniform(0.0, 0.5),
    )
    for sprite, radius in things + sprites:
        shift = (round(shadow.x * radius), round(shadow.y * radius))
        sprite.cast_shadow(picture, shift, shadow.softness, shadow.strength)
        sprite.lay(picture)
    light(stream, picture)
    boxes = [tight_box(mask) for mask in masks]
    return develop(stream, picture), [Instance(*x) for x in zip(categories, masks, boxes)]


def draw_clutter(stream, size):
    """Draw the things of no class that lie behind the objects.

    Returns:
        list of (:class:`Sprite`, radius in pixels).
    """
    poses = [draw_pose(stream, size, CLUTTER_SIDES, 180.0) for _ in range(stream.integer(2, 7))]
    return [(paint_thing(stream, pose, clutter), pose.radius) for pose in poses]


def draw_objects(stream, spec):
    """Draw the objects of a scene, leaving out each that would hide too much.

    Returns:
        categories: list of class indices, from the farthest object to the nearest.
        sprites: list of (:class:`Sprite`, radius in pixels).
        masks: list of bool (H, W), disjoint.
    """
    categories, sprites, masks, areas, poses = [], [], [], [], []
    for _ in range(stream.integer(1, spec.max_objects)):
        pose = find_place(stream, spec.size, OBJECT_SIDES, MAX_ROTATION, poses)
        if pose is None:
            continue
        category = stream.integer(0, spec.num_classes - 1)
        sprite = paint_thing(stream, pose, PAINTERS[spec.class_names[category]])
        shown = cover(masks, image_mask(sprite, spec.size))
        whole = areas + [np.count_nonzero(sprite.mask())]
        if all_visible(shown, whole):
            masks, areas = shown, whole
            poses.append(pose)
            categories.append(category)
            sprites.append((sprite, pose.radius))
    return categories, sprites, masks


def paint_thing(stream, pose, painter):
    """Paint one sprite: a fresh palette, the painter's parts, sometimes an outline, shading."""
    sprite = Sprite(pose)
    contrast = stream.uniform(0.55, 1.0)
    low = stream.uniform(20.0, 240.0 - 220.0 * contrast)
    painter(sprite, stream, palette(stream, 5, low, low + 220.0 * contrast))
    if stream.chance(0.3):
        (ink,) = palette(stream, 1)
        sprite.rim(max(0.05, 1.2 * sprite.grid.pixel), ink)
    sprite.shade(stream.uniform(-0.3, 0.3), stream.uniform(-0.3, 0.3))
    return sprite
