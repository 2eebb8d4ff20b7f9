"""A square canvas on which an object is painted by numbers.

Shapes are bool (S, S) masks, so ``a & b``, ``a | b`` and ``a & ~b`` combine them. Coordinates are
the object's own: it fills about [-1, 1] x [-1, 1], x right and y down.
"""

import cv2
import numpy as np

from .textures import pattern

# The canvas reaches a little further than the object.
EXTENT = 1.05
# Canvas pixels per image pixel, so that edges are smooth in the image.
OVERSAMPLING = 2
# Number of colours of an object; the last is that of its outline.
COLOURS = 6
# The finest period of a pattern and the finest outline, in image pixels.
MIN_PERIOD, MIN_OUTLINE = 3.6, 1.2
# OpenCV takes coordinates in 1/16 pixels.
SHIFT = 4


class Canvas:
    """What the painter of a class draws on.

    Attributes:
        numbers: uint8 (S, S), 0 where the canvas is empty, else the number of a colour from 1 on.
        x, y: float32 (1, S) and (S, 1), coordinates of the pixel centres.
        radius: half the object's side in image pixels.
        unit: half the object's side in canvas pixels.
    """

    def __init__(self, radius):
        side = int(np.ceil(2.0 * EXTENT * OVERSAMPLING * radius))
        self.numbers = np.zeros((side, side), np.uint8)
        self.radius, self.unit = radius, OVERSAMPLING * radius
        self.x = ((np.arange(side, dtype=np.float32) + 0.5) / self.unit - EXTENT)[None]
        self.y = self.x.T

    def paint(self, number, shape, second=0, texture=None):
        """Paint a shape over what is there; where ``texture`` is True in the second colour."""
        self.numbers[shape] = number
        if texture is not None:
            self.numbers[shape & texture] = second

    def outline(self, number, width=0.05):
        """Paint the rim of everything painted so far."""
        pixels = round(max(width * self.unit, MIN_OUTLINE * OVERSAMPLING))
        painted = (self.numbers > 0).astype(np.uint8)
        inner = cv2.erode(painted, np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8))
        self.numbers[painted > inner] = number

    def polygon(self, *corners):
        """Polygon through ``corners``, (x, y) each."""
        return self._draw(cv2.fillPoly, [np.array([self._place(*corner) for corner in corners])])

    def box(self, left, top, right, bottom):
        """Upright rectangle."""
        return self.polygon((left, top), (right, top), (right, bottom), (left, bottom))

    def disc(self, x, y, radius):
        """Disc around (x, y)."""
        return self.ellipse(x, y, radius, radius)

    def ellipse(self, x, y, radius_x, radius_y, degrees=0.0):
        """Ellipse around (x, y), turned clockwise."""
        axes = [round(radius * self.unit * 2**SHIFT) for radius in (radius_x, radius_y)]
        return self._draw(cv2.ellipse, self._place(x, y), axes, degrees, 0, 360, thickness=-1)

    def line(self, start, end, width):
        """Line with round ends from ``start`` to ``end``, (x, y) each."""
        thickness = max(round(width * self.unit), 1)
        return self._draw(cv2.line, self._place(*start), self._place(*end), thickness=thickness)

    def texture(self, name, period, degrees=0.0, x=0.0, y=0.0):
        """A pattern over the whole canvas with its origin at (x, y), turned clockwise."""
        period = max(period, MIN_PERIOD / self.radius)
        return pattern(name, self.x - x, self.y - y, period, degrees)

    def _place(self, x, y):
        return [round(((side + EXTENT) * self.unit - 0.5) * 2**SHIFT) for side in (x, y)]

    def _draw(self, function, *geometry, **options):
        mask = np.zeros(self.numbers.shape, np.uint8)
        function(mask, *geometry, color=1, shift=SHIFT, **options)
        return mask.view(bool)


def mirrored(shape):
    """Return a shape together with its mirror image."""
    return shape | shape[:, ::-1]
