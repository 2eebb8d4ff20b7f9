"""Text on pictures: small boxes of a class's colour that avoid each other and the border."""

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .colours import ink_on

_PAD = 2  # pixels around a text


@lru_cache(maxsize=16)
def font(size):
    """Return a font of a height in pixels; matplotlib has one on every machine."""
    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size
    )


def font_size(image):
    """Return a size that can be read on an image (H, W, 3) and leaves most of it free."""
    return int(np.clip(round(min(image.shape[:2]) / 45), 11, 40))


def draw_captions(image, captions, size=None):
    """Draw texts at boxes; where there is no free place, over what was drawn first.

    Args:
        image: uint8 (H, W, 3).
        captions: list of (text, colour, (x1, y1, x2, y2)); the most important first.
        size: of the font in pixels; default: :func:`font_size`.

    Returns:
        a copy with the texts.
    """
    canvas = Image.fromarray(image)
    draw, kind = ImageDraw.Draw(canvas), font(size or font_size(image))
    ascent, descent = kind.getmetrics()
    taken = []
    for text, colour, box in captions:
        shape = (round(kind.getlength(text)) + 2 * _PAD, ascent + descent + _PAD)
        place = _free_place(box, shape, canvas.size, taken)
        taken.append(place)
        draw.rectangle([place[0], place[1], place[2] - 1, place[3] - 1], fill=tuple(colour))
        draw.text((place[0] + _PAD, place[1]), text, fill=ink_on(colour), font=kind)
    return np.asarray(canvas).copy()


def _free_place(box, shape, limits, taken):
    """Return (x1, y1, x2, y2) of the first free place at a box for a text (width, height)."""
    x1, y1, x2, y2 = (round(x) for x in box)
    width, height = shape
    corners = [(x1, y1 - height), (x1, y2), (x2 - width, y1 - height), (x2 - width, y2),
               (x1, y1), (x1, y2 - height), (x2, y1), (x1 - width, y1)]  # fmt: skip
    places = [_inside(x, y, shape, limits) for x, y in corners]
    return min(places, key=lambda x: sum(_overlap(x, y) for y in taken))


def _inside(x, y, shape, limits):
    x, y = (max(min(v, limit - s), 0) for v, s, limit in zip((x, y), shape, limits))
    return x, y, x + shape[0], y + shape[1]


def _overlap(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)
