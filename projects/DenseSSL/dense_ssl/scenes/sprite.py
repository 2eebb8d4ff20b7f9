"""Sprites: one object, painted part by part in its own coordinates and laid onto the image.

Shapes: a sprite is a window of H x W image pixels, which may stick out of the image. Colours are
float32 (3, 1, 1), RGB in [0, 255]; pictures are float32 (3, H, W).
"""

from dataclasses import dataclass

import numpy as np

from .shapes import Grid, coverage, direction

# Objects are drawn within [-1, 1] x [-1, 1]; the rest is room for an antialiased edge.
EXTENT = 1.06


@dataclass
class Pose:
    """Where an object lies.

    Attributes:
        x, y: its centre in image pixels (edge coordinates: pixel k covers [k, k + 1]).
        radius: half its side in pixels, before stretching.
        degrees: clockwise rotation.
        stretch: its width is multiplied by this and its height divided.
        mirrored: whether left and right are exchanged (before the rotation).
    """

    x: float
    y: float
    radius: float
    degrees: float = 0.0
    stretch: float = 1.0
    mirrored: bool = False


class Sprite:
    """A window of the image on which the parts of one object are painted.

    Attributes:
        grid: :class:`Grid` of the window in the object's coordinates.
        left, top: the window's first pixel in the image, possibly negative.
        colour: float32 (3, H, W), already multiplied by ``alpha``.
        alpha: float32 (H, W), how much of each pixel the object covers.
        distance: float32 (H, W), signed distance to the whole object, in object units.
    """

    def __init__(self, pose):
        cos, sin = direction(pose.degrees)
        radius_x, radius_y = pose.radius * pose.stretch, pose.radius / pose.stretch
        reach_x = EXTENT * (abs(cos) * radius_x + abs(sin) * radius_y)
        reach_y = EXTENT * (abs(sin) * radius_x + abs(cos) * radius_y)
        self.left, self.top = int(np.floor(pose.x - reach_x)), int(np.floor(pose.y - reach_y))
        width = int(np.ceil(pose.x + reach_x)) - self.left
        height = int(np.ceil(pose.y + reach_y)) - self.top
        x = np.arange(width, dtype=np.float32) + (self.left + 0.5 - pose.x)
        y = (np.arange(height, dtype=np.float32) + (self.top + 0.5 - pose.y))[:, None]
        flip = -1.0 if pose.mirrored else 1.0
        self.grid = Grid(
            x=(x * cos + y * sin) * (flip / radius_x),
            y=(y * cos - x * sin) * (1.0 / radius_y),
            pixel=1.0 / pose.radius,
        )
        self.colour = np.zeros((3, height, width), np.float32)
        self.alpha = np.zeros((height, width), np.float32)
        self.distance = np.full((height, width), 2.0, np.float32)

    def paint(self, distance, colour, second=None, texture=None):
        """Paint a part over what is there.

        Args:
            distance: (H, W), the part's signed distance.
            colour: its colour.
            second, texture: with both, ``texture`` (H, W) in [0, 1] blends into ``second``.
        """
        cover = coverage(distance, self.grid.pixel)
        if texture is not None:
            colour = colour + texture * (second - colour)
        self.colour += cover * (colour - self.colour)
        self.alpha += cover * (1.0 - self.alpha)
        np.minimum(self.distance, distance, out=self.distance)

    def rim(self, width, colour):
        """Draw the outline of the whole object, inside of it; ``width`` in object units."""
        inner = coverage(-self.distance - width, self.grid.pixel)
        self.colour += inner * (colour * self.alpha - self.colour)

    def shade(self, slope_x, slope_y):
        """Light the object from one side: brightness grows linearly, by the slopes per unit."""
        light = 1.0 + slope_x * self.grid.x + slope_y * self.grid.y
        self.colour *= np.minimum(np.maximum(light, 0.4), 1.6)

    def mask(self):
        """bool (H, W): the pixels that the object covers by half or more."""
        return self.alpha >= 0.5

    def windows(self, size, shift=(0, 0)):
        """Slices of the image and of the sprite where the two meet.

        Args:
            size: (width, height) of the image.
            shift: (x, y), whole pixels by which the sprite is moved.

        Returns:
            (image rows, image columns), (sprite rows, sprite columns).
        """
        starts = (self.top + shift[1], self.left + shift[0])
        image, sprite = [], []
        for start, length, limit in zip(starts, self.alpha.shape, (size[1], size[0])):
            low, high = max(start, 0), max(min(start + length, limit), 0)
            image.append(slice(low, max(low, high)))
            sprite.append(slice(low - start, max(low, high) - start))
        return tuple(image), tuple(sprite)

    def lay(self, picture):
        """Lay the object onto ``picture``, float32 (3, height, width), in place."""
        (rows, columns), inner = self.windows((picture.shape[2], picture.shape[1]))
        part = picture[:, rows, columns]
        part *= 1.0 - self.alpha[inner]
        part += self.colour[(slice(None), *inner)]

    def cast_shadow(self, picture, shift, softness, strength):
        """Darken ``picture`` where the object's shadow falls, in place.

        Args:
            picture: float32 (3, height, width).
            shift: (x, y), whole pixels from the object to its shadow.
            softness: width of the shadow's edge in object units.
            strength: share of the light that the shadow takes away, in [0, 1].
        """
        (rows, columns), inner = self.windows((picture.shape[2], picture.shape[1]), shift)
        picture[:, rows, columns] *= 1.0 - strength * coverage(self.distance[inner], softness)
