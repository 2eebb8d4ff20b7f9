"""From a painter to an object in the image: colours, light, pose, a little bending, shadow."""

import math
from typing import NamedTuple, Tuple

import cv2
import numpy as np

from .canvas import COLOURS, EXTENT, OVERSAMPLING, Canvas
from .textures import palette

# Half the window of a sprite in object radii: room for the object at any angle and its shadow.
REACH = 1.6
# How far a point of an object may move when it is bent, in object radii.
MAX_BEND = 0.09


class Pose(NamedTuple):
    """Where an object lies: centre and half side in image pixels, clockwise rotation.

    Its width is multiplied by ``stretch``, negative for a mirrored object, its height divided.
    """

    x: float
    y: float
    radius: float
    degrees: float = 0.0
    stretch: float = 1.0

    def gap(self, other):
        """Distance between the centres of two objects over the sum of their radii."""
        distance = math.hypot(self.x - other.x, self.y - other.y)
        return distance / (self.radius + other.radius)

    def window(self, size):
        """Slices (rows, columns) of an image of ``size`` (width, height) around the object."""
        reach = REACH * self.radius
        return tuple(
            slice(max(int(centre - reach), 0), min(math.ceil(centre + reach), side))
            for centre, side in ((self.y, size[1]), (self.x, size[0]))
        )

    def to_canvas(self, unit):
        """Matrix (2, 3) from (x, y) in radii around the centre to corners of canvas pixels."""
        cos, sin = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        matrix = np.array([[cos, sin, EXTENT], [-sin, cos, EXTENT]])
        matrix[:, :2] /= [[self.stretch], [1.0 / abs(self.stretch)]]
        return matrix * unit


class Sprite(NamedTuple):
    """An object as it appears in a window of the image.

    Attributes:
        window: slices (rows, columns) of the image.
        colour: float32 (3, h, w), RGB in [0, 255] multiplied by ``alpha``.
        alpha: float32 (h, w), the share of each pixel that the object covers.
        radius: half its side in pixels.
    """

    window: Tuple[slice, slice]
    colour: np.ndarray
    alpha: np.ndarray
    radius: float


def paint_sprite(rng, painter, pose, size):
    """Paint an object in random colours, place it, bend it a little and light it from one side.

    Args:
        rng: numpy Generator.
        painter: function of a :class:`.Canvas` and ``rng``.
        pose: :class:`Pose`.
        size: (width, height) of the image.
    """
    canvas = Canvas(pose.radius)
    painter(canvas, rng)
    if rng.random() < 0.3:
        canvas.outline(COLOURS)
    contrast = 220.0 * rng.uniform(0.55, 1.0)
    low = rng.uniform(20.0, 240.0 - contrast)
    table = np.zeros((256, 1, 4), np.uint8)  # RGB and alpha for each number
    table[1 : COLOURS + 1, 0, :3] = palette(rng, COLOURS, low, low + contrast)[:, :, 0, 0]
    table[1 : COLOURS + 1, 0, 3] = 255
    pixels = cv2.LUT(cv2.merge([canvas.numbers] * 4), table)
    # Averages 2 x 2 pixels, so that pixel (i, j) of the result lies where four pixels meet.
    pixels = cv2.blur(pixels, (OVERSAMPLING, OVERSAMPLING))

    window = pose.window(size)
    y, x = (np.arange(part.start, part.stop, dtype=np.float32) for part in window)
    x, y = (x + (0.5 - pose.x)) / pose.radius, ((y + (0.5 - pose.y)) / pose.radius)[:, None]
    bend = rng.uniform(-MAX_BEND, MAX_BEND, (5, 5, 2)).astype(np.float32)
    places = cv2.resize(bend, (x.size, y.size), interpolation=cv2.INTER_CUBIC)
    places[..., 0] += x
    places[..., 1] += y
    places = cv2.transform(places, pose.to_canvas(canvas.unit))
    planes = cv2.split(cv2.remap(pixels, places, None, cv2.INTER_LINEAR))
    light = 1.0 + rng.uniform(-0.3, 0.3) * x + rng.uniform(-0.3, 0.3) * y
    return Sprite(window, np.stack(planes[:3]) * light, planes[3] / np.float32(255), pose.radius)


def lay(picture, sprite, shadow):
    """Lay a sprite and its shadow onto a picture, in place.

    Args:
        picture: float32 (3, H, W).
        sprite: :class:`Sprite`.
        shadow: width of its edge in object radii, its shift (x, y) in [0, 1], the share of light
            that it takes away.
    """
    width, x, y, strength = shadow
    edge = int(width * sprite.radius) + 1
    # Off its centre, the anchor of the box filter moves the shadow by up to half its edge.
    dark = cv2.blur(sprite.alpha, (edge, edge), anchor=(int(x * edge), int(y * edge)))
    part = picture[(slice(None), *sprite.window)]
    part *= (1.0 - strength * dark) * (1.0 - sprite.alpha)
    part += sprite.colour
