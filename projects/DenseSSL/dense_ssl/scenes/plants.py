"""Things that grow: each function paints one object of its class; see :mod:`.creatures`."""

import numpy as np

from . import textures
from .creatures import fine
from .shapes import direction, disc, ellipse, polygon, segment, union


def flower(sprite, stream, colours):
    """Flower on a stem: five to eight striped petals around a dotted centre, one leaf."""
    petal, line, centre, seeds, green = colours
    grid = sprite.grid
    head = (0.0, -0.34)
    sprite.paint(segment(grid, head, (stream.uniform(-0.1, 0.1), 0.97), 0.06), green)
    sprite.paint(ellipse(grid, 0.3, 0.62, 0.34, 0.13, stream.uniform(-40.0, -15.0)), green)
    count = stream.integer(5, 8)
    first = stream.uniform(0.0, 360.0)
    width = 0.3 * stream.uniform(5.0, 6.4) / count
    for number in range(count):
        degrees = first + 360.0 * number / count
        cos, sin = direction(degrees)
        turned = grid.turned(degrees, head[0] + 0.4 * cos, head[1] + 0.4 * sin)
        vein = textures.coverage(np.abs(turned.y) - 0.045, grid.pixel)
        sprite.paint(ellipse(turned, 0.0, 0.0, 0.27, width), petal, line, vein)
    pips = textures.dots(grid, fine(stream, sprite, 0.13, 0.18), 0.32)
    sprite.paint(disc(grid, *head, stream.uniform(0.2, 0.27)), centre, seeds, pips)


def tree(sprite, stream, colours):
    """Tree: a round crown of several balls of leaves, fruits, and a trunk with bark."""
    crown, leaf, trunk, bark, fruit = colours
    grid = sprite.grid
    width = stream.uniform(0.13, 0.2)
    corners = [(-width, 0.1), (width, 0.1), (width + 0.1, 0.98), (-width - 0.1, 0.98)]
    grain = textures.stripes(grid, fine(stream, sprite, 0.09, 0.14), 0.45)
    sprite.paint(polygon(grid, corners), trunk, bark, grain)
    balls = [disc(grid, 0.0, -0.3, 0.5)]
    first = stream.uniform(0.0, 360.0)
    for number in range(6):
        cos, sin = direction(first + 60.0 * number)
        radius = stream.uniform(0.24, 0.34)
        balls.append(disc(grid, 0.52 * cos, -0.33 + 0.36 * sin, radius))
    leaves = textures.dots(grid.turned(20.0), fine(stream, sprite, 0.15, 0.22), 0.33)
    foliage = union(*balls)
    sprite.paint(foliage, crown, leaf, leaves)
    for _ in range(stream.integer(2, 4)):
        x, y = stream.uniform(-0.5, 0.5), stream.uniform(-0.65, 0.05)
        sprite.paint(np.maximum(disc(grid, x, y, 0.11), foliage), fruit)


def mushroom(sprite, stream, colours):
    """Mushroom: half-round spotted cap over a band of gills, stem with a ring."""
    cap_colour, spot, gill, stem, ring = colours
    grid = sprite.grid
    width = stream.uniform(0.17, 0.27)
    corners = [(-width, 0.1), (width, 0.1), (width + 0.08, 0.97), (-width - 0.08, 0.97)]
    sprite.paint(polygon(grid, corners), stem)
    sprite.paint(ellipse(grid, 0.0, stream.uniform(0.42, 0.55), width + 0.13, 0.07), ring)
    folds = textures.stripes(grid, fine(stream, sprite, 0.11, 0.16), 0.45)
    brim = stream.uniform(0.02, 0.14)
    under = ellipse(grid, 0.0, brim, 0.86, 0.16)
    sprite.paint(under, gill, ring, folds)
    dome = ellipse(grid, 0.0, brim, 0.95, stream.uniform(0.85, 1.05))
    cap = np.maximum(dome, grid.y - brim + 0.02)
    sprite.paint(cap, cap_colour)
    size = stream.uniform(0.12, 0.17)
    for x, y in ((-0.58, -0.14), (-0.2, -0.5), (0.12, -0.16), (0.38, -0.45), (0.68, -0.1)):
        x, y = x + stream.uniform(-0.06, 0.06), y + stream.uniform(-0.06, 0.06)
        sprite.paint(np.maximum(disc(grid, x, y, size * stream.uniform(0.7, 1.2)), cap), spot)
