"""Where objects lie, and which of their pixels one sees.

Masks are bool (H, W) over the whole image; a list of masks goes from the farthest object to the
nearest.
"""

import math

import numpy as np

from .sprite import Pose

# An object of which less than this share would stay visible is not drawn.
MIN_VISIBLE = 0.4
ATTEMPTS = 12


def draw_pose(stream, size, sides, rotation):
    """Draw where and how an object lies.

    Args:
        stream: :class:`.stream.Stream`.
        size: (width, height) of the image in pixels.
        sides: (low, high) of the object's side as a fraction of the image's shorter side; small
            ones are more frequent (uniform in the square root).
        rotation: the largest rotation in degrees, to either side.
    """
    low, high = math.sqrt(sides[0]), math.sqrt(sides[1])
    root = stream.uniform(low, high)
    radius = 0.5 * min(size) * root * root
    margin = radius * stream.uniform(0.7, 1.05)
    return Pose(
        x=stream.uniform(margin, size[0] - margin),
        y=stream.uniform(margin, size[1] - margin),
        radius=radius,
        degrees=stream.uniform(-rotation, rotation),
        stretch=stream.uniform(0.88, 1.14),
        mirrored=stream.chance(0.5),
    )


def find_place(stream, size, sides, rotation, others):
    """Draw a pose that leaves room for the objects at ``others``, a list of :class:`Pose`.

    How near it may come is drawn too, so that some objects touch or overlap and some do not.

    Returns:
        :class:`Pose`, or None if several attempts fail.
    """
    room = stream.uniform(0.5, 1.2)
    for _ in range(ATTEMPTS):
        pose = draw_pose(stream, size, sides, rotation)
        if all(_apart(pose, other, room) for other in others):
            return pose
    return None


def _apart(pose, other, room):
    dx, dy = pose.x - other.x, pose.y - other.y
    return math.sqrt(dx * dx + dy * dy) >= room * (pose.radius + other.radius)


def image_mask(sprite, size):
    """bool (H, W): the pixels of an image of ``size`` (width, height) that a sprite covers."""
    mask = np.zeros((size[1], size[0]), bool)
    image, inner = sprite.windows(size)
    mask[image] = sprite.mask()[inner]
    return mask


def cover(masks, front):
    """The masks after an object with mask ``front`` was put before them; its own is the last."""
    return [mask & ~front for mask in masks] + [front]


def all_visible(masks, areas):
    """Whether each mask still shows ``MIN_VISIBLE`` of the object's whole area in pixels."""
    seen = [np.count_nonzero(mask) for mask in masks]
    return all(part >= MIN_VISIBLE * area for part, area in zip(seen, areas))


def tight_box(mask):
    """(x, y, width, height) in whole pixels of the smallest box around a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y
