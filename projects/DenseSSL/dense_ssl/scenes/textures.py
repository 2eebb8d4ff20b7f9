"""Textures: how much of a second colour each point of a grid gets, float32 (H, W) in [0, 1].

The regular ones take a :class:`Grid` and a period in its units; turn the grid to turn the texture.
``cloud`` is noise over a whole image. All keep to the arithmetic that :mod:`.shapes` allows.
"""

import numpy as np

from .shapes import coverage


def wave(phase):
    """Triangle wave of period 1: 0 at integers, 1 halfway between."""
    return 1.0 - np.abs((phase - np.floor(phase)) * 2.0 - 1.0)


def stripes(grid, period, share=0.5):
    """Stripes along y; ``share`` is the part of the period in the second colour."""
    half_period = 0.5 * period  # the wave climbs by 1 over half a period
    return coverage((1.0 - share - wave(grid.x / period)) * half_period, grid.pixel)


def waffle(grid, period, share=0.3):
    """Lines along both axes."""
    across = stripes(grid._replace(x=grid.y), period, share)
    return np.maximum(stripes(grid, period, share), across)


def checks(grid, period):
    """Chessboard; a period is two squares."""
    first = wave(grid.x / period) - 0.5
    second = wave(grid.y / period) - 0.5
    return coverage(first * second * period, grid.pixel)


def zigzag(grid, period, share=0.5):
    """Stripes along x that zigzag with an amplitude of half a period."""
    bent = grid.y + 0.5 * period * wave(grid.x / period)
    return stripes(grid._replace(x=bent), period, share)


def dots(grid, period, radius=0.3):
    """Dots, each row shifted by half a period; ``radius`` in periods."""
    row = np.floor(grid.y / period)
    column = grid.x / period + 0.5 * (row - 2.0 * np.floor(0.5 * row))
    dx = column - np.floor(column) - 0.5
    dy = grid.y / period - row - 0.5
    return coverage((np.sqrt(dx * dx + dy * dy) - radius) * period, grid.pixel)


def bricks(grid, period, mortar=0.12):
    """Mortar of a brick wall; bricks are one period long and half a period high."""
    row = np.floor(grid.y * 2.0 / period)
    column = grid.x / period + 0.5 * (row - 2.0 * np.floor(0.5 * row))
    upright = wave(column) * 0.5
    level = wave(grid.y * 2.0 / period) * 0.25
    return coverage((np.minimum(upright, level) - 0.5 * mortar) * period, grid.pixel)


def scales(grid, period, edge=0.2):
    """Overlapping round scales in rows, darker towards their rim, which points along +y."""
    row = np.floor(grid.y * 2.0 / period)
    column = grid.x / period + 0.5 * (row - 2.0 * np.floor(0.5 * row))
    dx = column - np.floor(column) - 0.5
    dy = grid.y / period - 0.5 * row
    reach = np.sqrt(dx * dx + dy * dy)  # 0.5 on the rim
    rim = coverage((0.5 - edge - reach) * period, grid.pixel)
    return np.maximum(rim, np.minimum(reach, 0.5) * 0.6)


def rings(grid, period, share=0.5):
    """Concentric rings around the grid's origin."""
    radius = np.sqrt(grid.x * grid.x + grid.y * grid.y)
    return stripes(grid._replace(x=radius), period, share)


PATTERNS = (stripes, waffle, checks, zigzag, dots, bricks, scales, rings)


def lattice_noise(stream, size, cell):
    """Smooth noise: random values on a lattice, joined by smooth curves.

    Args:
        stream: :class:`.stream.Stream`.
        size: (width, height) in pixels.
        cell: side of a lattice cell in pixels.

    Returns:
        float32 (height, width) in [0, 255].
    """
    width, height = size
    (left, to_right), (top, to_bottom) = _lattice_axis(width, cell), _lattice_axis(height, cell)
    values = stream.octets(int(top[-1]) + 2, int(left[-1]) + 2).astype(np.float32)
    rows = values[top] + (values[top + 1] - values[top]) * to_bottom[:, None]
    return rows[:, left] + (rows[:, left + 1] - rows[:, left]) * to_right


def _lattice_axis(length, cell):
    """Index of the lattice line before each pixel, and the blend (float32) towards the next."""
    place = (np.arange(length, dtype=np.float32) + 0.5) / cell
    index = np.floor(place)
    blend = place - index
    return index.astype(np.int64), blend * blend * (3.0 - 2.0 * blend)


def cloud(stream, size, cell, octaves, gain=0.5):
    """Sum of ``octaves`` noises, each of half the cell and ``gain`` times the height of the last.

    Args:
        stream: :class:`.stream.Stream`.
        size: (width, height) in pixels.
        cell: cell of the coarsest noise in pixels.
        octaves: how many, at least 1; cells stay at least 1.5 pixels.
        gain: height of an octave over that of the one before.

    Returns:
        float32 (height, width) in [0, 1].
    """
    total, height, heights = 0.0, 1.0, 0.0
    for _ in range(octaves):
        total = total + lattice_noise(stream, size, max(cell, 1.5)) * height
        heights += height
        cell, height = cell * 0.5, height * gain
    return total / (255.0 * heights)
