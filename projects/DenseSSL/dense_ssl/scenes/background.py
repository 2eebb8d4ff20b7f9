"""What is in a scene besides its objects: a textured backdrop, clutter, light and sensor noise.

Pictures are float32 (3, H, W), RGB in [0, 255]. Lengths that depend on the image are fractions of
its shorter side, so a scene of any size holds the same things.
"""

import numpy as np

from . import textures
from .palette import palette
from .shapes import Grid, box, disc, ellipse, outline, polygon, segment


def backdrop(stream, size):
    """Clouds of noise at several scales, in most scenes under a regular pattern or a gradient.

    Args:
        stream: :class:`.stream.Stream`.
        size: (width, height) in pixels.

    Returns:
        float32 (3, height, width).
    """
    width, height = size
    side = min(size)
    contrast = stream.uniform(0.25, 0.75)
    middle = stream.uniform(70.0, 185.0)
    first, second, third = palette(
        stream, 3, max(middle - 130.0 * contrast, 10.0), min(middle + 130.0 * contrast, 245.0)
    )
    coarse = textures.cloud(stream, size, side * stream.uniform(0.15, 0.6), 4, 0.6)
    picture = first + coarse * (second - first)
    if stream.chance(0.65):
        centre = stream.uniform(-0.6, 0.6), stream.uniform(-0.6, 0.6)
        grid = image_grid(size).turned(stream.uniform(0.0, 180.0), *centre)
        period = max(stream.uniform(0.06, 0.3), 4.0 * grid.pixel)
        pattern = stream.choose(textures.PATTERNS)(grid, period)
        patches = textures.lattice_noise(stream, size, side * 0.4) * (1.0 / 255.0)
        strength = stream.uniform(0.25, 0.9)
        picture += pattern * np.minimum(patches * (2.0 * strength), strength) * (third - picture)
    else:
        start, slope = stream.uniform(-0.3, 0.3), stream.uniform(0.4, 0.9)
        ramp = start + slope * np.arange(height, dtype=np.float32)[:, None] / height
        picture += np.minimum(np.maximum(ramp, 0.0), 1.0) * (third - picture)
    grain = textures.cloud(stream, size, side * 0.05, 2, 0.7) - 0.5
    picture += grain * stream.uniform(10.0, 60.0)
    return picture


def image_grid(size):
    """Grid over the whole image, origin at its centre, one unit along its shorter side."""
    width, height = size
    pixel = 1.0 / min(size)
    x = (np.arange(width, dtype=np.float32) + (0.5 - 0.5 * width)) * pixel
    y = (np.arange(height, dtype=np.float32) + (0.5 - 0.5 * height)) * pixel
    return Grid(np.broadcast_to(x, (height, width)), y[:, None], pixel)


def clutter(sprite, stream, colours):
    """Paint a thing of no class: one or two plain shapes, most with an object-like texture.

    It takes its colours and textures from the same draws as the objects, so that an object is
    told from it by how its parts belong together, not by a patch of texture.
    """
    grid = sprite.grid
    for number in range(stream.integer(1, 2)):
        shape = plain_shape(stream, grid)
        texture = None
        if stream.chance(0.75):
            period = max(stream.uniform(0.15, 0.6), 3.6 * grid.pixel)
            turned = grid.turned(stream.uniform(0.0, 180.0))
            texture = stream.choose(textures.PATTERNS)(turned, period)
        sprite.paint(shape, colours[2 * number], colours[2 * number + 1], texture)


def plain_shape(stream, grid):
    """A random blob, box, disc, ring, stroke or triangle within [-1, 1] x [-1, 1]."""
    x, y = stream.uniform(-0.2, 0.2), stream.uniform(-0.2, 0.2)
    kind = stream.integer(0, 5)
    if kind == 0:
        return ellipse(grid, x, y, stream.uniform(0.4, 0.8), stream.uniform(0.4, 0.8))
    if kind == 1:
        half_x, half_y = stream.uniform(0.2, 0.75), stream.uniform(0.2, 0.75)
        return box(grid, x, y, half_x, half_y, stream.uniform(0.0, 0.2))
    if kind == 2:
        return disc(grid, x, y, stream.uniform(0.3, 0.75))
    if kind == 3:
        return outline(disc(grid, x, y, stream.uniform(0.4, 0.65)), stream.uniform(0.12, 0.3))
    if kind == 4:
        ends = (stream.uniform(-0.9, -0.4), y), (stream.uniform(0.4, 0.9), -y)
        return segment(grid, *ends, stream.uniform(0.06, 0.3))
    peak = (stream.uniform(-0.7, 0.7), -0.85)
    return polygon(grid, [peak, (0.8, stream.uniform(0.0, 0.8)), (-0.8, 0.6)])


def light(stream, picture):
    """Light the whole scene unevenly and tint it a little, in place."""
    size = (picture.shape[2], picture.shape[1])
    grid = image_grid(size).turned(stream.uniform(0.0, 360.0))
    level = stream.uniform(0.85, 1.1) + stream.uniform(0.0, 0.5) * grid.x
    level = level + textures.lattice_noise(stream, size, min(size) * 0.7) * (0.25 / 255.0) - 0.12
    picture *= np.maximum(level, 0.3)
    tint = [stream.uniform(0.9, 1.1) for _ in range(3)]
    picture *= np.array(tint, dtype=np.float32).reshape(3, 1, 1)


def develop(stream, picture):
    """Add sensor noise and round.

    Args:
        stream: :class:`.stream.Stream`.
        picture: float32 (3, height, width).

    Returns:
        uint8 (height, width, 3).
    """
    octets = stream.octets(*picture.shape)
    # The sum of two 4-bit halves: triangular in [0, 30], standard deviation 6.5.
    noise = ((octets >> 4) + (octets & 15)).astype(np.float32) - 15.0
    picture = picture + noise * stream.uniform(0.1, 0.5)
    picture = np.floor(np.minimum(np.maximum(picture + 0.5, 0.0), 255.0))
    return np.ascontiguousarray(picture.astype(np.uint8).transpose(1, 2, 0))
