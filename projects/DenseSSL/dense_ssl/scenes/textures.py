"""Colours, regular patterns and random clouds, for objects and backgrounds alike."""

import math

import cv2
import numpy as np

LUMA = np.array([0.3, 0.6, 0.1])


def fraction(u):
    """What is left of ``u`` after rounding down."""
    return u - np.floor(u)


def length(u, v):
    """Distance from the origin; several times as fast as ``numpy.hypot``."""
    return np.sqrt(u * u + v * v)


def brick(u, v):
    """Place within bricks of size 1 x 1/2: across from -1/2 to 1/2, down from 0 to 1/2."""
    row = np.floor(2.0 * v)
    return fraction(u + 0.5 * row) - 0.5, v - 0.5 * row


# From coordinates in periods, float arrays that broadcast, to True for the second colour.
PATTERNS = {
    "stripes": lambda u, v: fraction(u) < 0.45,
    "waffle": lambda u, v: (fraction(u) < 0.3) | (fraction(v) < 0.3),
    "checks": lambda u, v: (fraction(u) < 0.5) ^ (fraction(v) < 0.5),
    "zigzag": lambda u, v: fraction(v + np.abs(fraction(u) - 0.5)) < 0.45,
    "rings": lambda u, v: fraction(length(u, v)) < 0.45,
    "dots": lambda u, v: length(brick(u, 0.5 * v)[0], fraction(v) - 0.5) < 0.31,
    "bricks": lambda u, v: (np.abs(brick(u, v)[0]) > 0.43) | (brick(u, v)[1] > 0.37),
    "scales": lambda u, v: length(*brick(u, v)) > 0.36,
}


def pattern(name, x, y, period, degrees=0.0):
    """Evaluate a pattern at points of the plane.

    Args:
        name: a key of ``PATTERNS``.
        x, y: float arrays that broadcast to (H, W).
        period: length of a period in the unit of x and y.
        degrees: clockwise rotation of the pattern around the origin.

    Returns:
        bool (H, W), True for the second colour.
    """
    cos, sin = math.cos(math.radians(degrees)) / period, math.sin(math.radians(degrees)) / period
    return PATTERNS[name](x * cos + y * sin, y * cos - x * sin)


def cloud(rng, size, cell, octaves=1):
    """Smooth noise: random grids, each twice as fine as the one before and 0.6 times as strong.

    Args:
        rng: numpy Generator.
        size: (width, height) in pixels.
        cell: cell side of the coarsest grid in pixels.
        octaves: number of grids.

    Returns:
        float32 (height, width) in [0, 1].
    """
    total = np.zeros(size[::-1], np.float32)
    for octave in range(octaves):
        step = max(cell / 2**octave, 1.5)
        grid = rng.random([int(side / step) + 2 for side in size[::-1]], dtype=np.float32)
        total += 0.6**octave * cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)
    return np.clip(total / sum(0.6**octave for octave in range(octaves)), 0.0, 1.0)


def palette(rng, count, low, high):
    """Draw colours in random order whose brightness is evenly spread over [low, high].

    Any two differ in brightness, so shapes and patterns stay visible in grey images too.

    Returns:
        float32 (count, 3, 1, 1), RGB in [0, 255].
    """
    levels = low + (high - low) / count * (rng.permutation(count) + rng.uniform(0.2, 0.8, count))
    tints = rng.uniform(-1.0, 1.0, (count, 3))
    tints -= (tints @ LUMA)[:, None]
    colours = np.clip(levels[:, None] + rng.uniform(25.0, 130.0) * tints, 0.0, 255.0)
    return colours.astype(np.float32)[..., None, None]
