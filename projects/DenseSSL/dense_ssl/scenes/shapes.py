"""Shapes as signed distances: negative inside, zero on the outline, positive outside.

A shape is evaluated at the points of a :class:`Grid` (H x W pixels) and returns float32 (H, W) in
units of the grid's coordinates. Union is ``np.minimum``, intersection ``np.maximum``, complement
``-``. Ellipses are approximate away from the outline, the others exact where it matters.

Only operations that IEEE 754 rounds correctly (+ - * / sqrt, min, max, floor) touch the arrays, and
sines are rounded before use: the same bits come out on every machine, which neither a drawing
library nor the vectorised trigonometry of numpy promises.
"""

import math
from typing import NamedTuple

import numpy as np

# Sines and cosines are rounded to this step, so the last bit of a libm cannot show.
TRIG_STEP = 2.0**-20


class Grid(NamedTuple):
    """Points at which shapes and textures are evaluated; x points right and y down.

    Attributes:
        x, y: float32 (H, W), coordinates of the pixel centres.
        pixel: side of a pixel in the same units, the width of an antialiased edge.
    """

    x: np.ndarray
    y: np.ndarray
    pixel: float

    def folded(self):
        """The grid with its left half mirrored onto the right: each shape is drawn twice."""
        return self._replace(x=np.abs(self.x))

    def turned(self, degrees, x=0.0, y=0.0):
        """Coordinates in a frame whose origin is (x, y) and whose axes are turned clockwise."""
        cos, sin = direction(degrees)
        dx, dy = self.x - x, self.y - y
        return self._replace(x=dx * cos + dy * sin, y=dy * cos - dx * sin)


def direction(degrees):
    """(cos, sin) of an angle, rounded to ``TRIG_STEP``."""
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    return round(cos / TRIG_STEP) * TRIG_STEP, round(sin / TRIG_STEP) * TRIG_STEP


def disc(grid, x, y, radius):
    """Disc around (x, y)."""
    dx, dy = grid.x - x, grid.y - y
    return np.sqrt(dx * dx + dy * dy) - radius


def ellipse(grid, x, y, radius_x, radius_y, degrees=0.0):
    """Ellipse around (x, y) with the given half axes, turned clockwise."""
    if degrees:
        turned = grid.turned(degrees, x, y)
        dx, dy = turned.x / radius_x, turned.y / radius_y
    else:
        dx, dy = (grid.x - x) / radius_x, (grid.y - y) / radius_y
    return (np.sqrt(dx * dx + dy * dy) - 1.0) * min(radius_x, radius_y)


def box(grid, x, y, half_x, half_y, rounding=0.0):
    """Axis-aligned box around (x, y); ``rounding`` is the radius of its corners."""
    dx = np.abs(grid.x - x) - (half_x - rounding)
    dy = np.abs(grid.y - y) - (half_y - rounding)
    outer_x, outer_y = np.maximum(dx, 0.0), np.maximum(dy, 0.0)
    outer = np.sqrt(outer_x * outer_x + outer_y * outer_y)
    return outer + np.minimum(np.maximum(dx, dy), 0.0) - rounding


def segment(grid, start, end, radius):
    """Thick line with round ends from ``start`` to ``end``, both (x, y)."""
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    dx, dy = grid.x - start[0], grid.y - start[1]
    share = (dx * along_x + dy * along_y) / (along_x * along_x + along_y * along_y)
    share = np.minimum(np.maximum(share, 0.0), 1.0)
    dx, dy = dx - share * along_x, dy - share * along_y
    return np.sqrt(dx * dx + dy * dy) - radius


def polygon(grid, corners):
    """Convex polygon; ``corners`` is a list of (x, y), clockwise on the screen (y down)."""
    inside = None
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1]):
        length = math.sqrt((x1 - x0) ** 2 + (y1 - y0) ** 2)
        normal_x, normal_y = (y1 - y0) / length, (x0 - x1) / length
        offset = normal_x * x0 + normal_y * y0
        edge = grid.x * normal_x + grid.y * normal_y - offset
        inside = edge if inside is None else np.maximum(inside, edge)
    return inside


def outline(distance, width):
    """Band of the given width that follows a shape's outline."""
    return np.abs(distance) - 0.5 * width


def union(*shapes):
    """What lies in any of the shapes."""
    result = shapes[0]
    for shape in shapes[1:]:
        result = np.minimum(result, shape)
    return result


def coverage(distance, pixel):
    """Share of each pixel that a shape covers, float32 (H, W) in [0, 1]: the antialiased shape."""
    return np.minimum(np.maximum(0.5 - distance / pixel, 0.0), 1.0)
