"""What is in a scene besides its objects: a textured backdrop, clutter, light and sensor noise.

Pictures are float32 (3, H, W), RGB in [0, 255].
"""

import cv2
import numpy as np

from .textures import PATTERNS, cloud, palette, pattern

NAMES = tuple(PATTERNS)


def plane(size):
    """Coordinates (1, W) and (H, 1) around the centre, in units of the image's shorter side."""
    x, y = ((np.arange(n, dtype=np.float32) + (0.5 - 0.5 * n)) / min(size) for n in size)
    return x[None], y[:, None]


def backdrop(rng, size):
    """Draw clouds of two colours under a pattern or a gradient of a third.

    Args:
        rng: numpy Generator.
        size: (width, height) in pixels.
    """
    middle, reach = rng.uniform(70.0, 185.0), 130.0 * rng.uniform(0.25, 0.75)
    first, second, third = palette(rng, 3, max(middle - reach, 10.0), min(middle + reach, 245.0))
    (x, y), side = plane(size), min(size)
    picture = first + cloud(rng, size, side * rng.uniform(0.15, 0.6), 4) * (second - first)
    if rng.random() < 0.65:
        x, y = x - rng.uniform(-0.5, 0.5), y - rng.uniform(-0.5, 0.5)
        name, period = NAMES[rng.integers(len(NAMES))], max(rng.uniform(0.06, 0.3), 4.0 / side)
        mask = pattern(name, x, y, period, rng.uniform(0.0, 180.0)).view(np.uint8)
        strength = rng.uniform(0.25, 0.9) / 255.0
        patches = np.minimum(2.0 * strength * cloud(rng, size, 0.4 * side), strength)
        blend = patches * cv2.GaussianBlur(255 * mask, (3, 3), 0)  # without jagged edges
    else:
        blend = np.clip(0.5 + rng.uniform(-0.5, 0.5) * x + rng.uniform(0.4, 0.9) * y, 0.0, 1.0)
    picture += blend * (third - picture)
    picture += rng.uniform(10.0, 60.0) * (cloud(rng, size, 0.05 * side, 2) - 0.5)
    return picture


def clutter(c, rng):
    """Paint a thing of no class: one or two plain shapes, most with a pattern.

    Its colours and patterns come from the same draws as those of the objects, so an object is
    recognised by how its parts belong together, not by a patch of texture.
    """
    for number in range(1, 2 * rng.integers(1, 3), 2):
        (x, y), (a, b) = rng.uniform(-0.2, 0.2, 2), rng.uniform(0.25, 0.75, 2)
        draw, *geometry = (
            (c.ellipse, x, y, a, b),
            (c.box, x - a, y - b, x + a, y + b),
            (c.line, (x - a, y), (x + a, -y), 0.7 * b),
            (c.polygon, (x, -0.85), (0.8, b), (-0.8, 0.6)),
        )[rng.integers(4)]
        hole = 0.7 * min(a, b) * rng.integers(2)
        shape = draw(*geometry) & ~c.disc(x, y, hole)
        c.paint(number, shape)
        if rng.random() < 0.75:
            name, degrees = NAMES[rng.integers(len(NAMES))], rng.uniform(0.0, 180.0)
            c.paint(number + 1, shape & c.texture(name, rng.uniform(0.15, 0.6), degrees))


def develop(rng, picture):
    """Light a picture unevenly, tint it, add sensor noise; return uint8 (H, W, 3)."""
    size = picture.shape[:0:-1]
    (x, y), slope = plane(size), rng.uniform(-0.4, 0.4, 2).tolist()
    light = rng.uniform(0.75, 1.0) + slope[0] * x + slope[1] * y
    light += 0.25 * cloud(rng, size, 0.7 * min(size))
    light = np.maximum(light, 0.3) * rng.uniform(0.9, 1.1, (3, 1, 1)).astype(np.float32)
    noise = rng.integers(256, size=picture.shape, dtype=np.uint8) - np.float32(127.5)
    picture = picture * light + rng.uniform(0.01, 0.04) * noise
    return cv2.merge(list(np.clip(picture + 0.5, 0.0, 255.0).astype(np.uint8)))
