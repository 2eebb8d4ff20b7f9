"""Views made with as few passes over the pixels as possible.

Brightness, contrast, saturation and grey are linear in the colour: all operations on the same side
of the hue shift become one matrix, applied once. The differences from ``render_exact.py``: one
rounding and one clip per matrix instead of one per operation, a hue without PIL's 256 steps, no
antialias where a crop shrinks by less than 2, and a blur that ends at three sigmas.

The hue shift is HSV's, as in torchvision. A rotation in YIQ would be linear and go into the matrix,
but on photographs its result is further from HSV's (10 to 11 grey levels at a tenth of a turn) than
the unchanged image is (8.5).
"""

import cv2
import numpy as np

from . import render_exact

_FLAGS = {"bicubic": cv2.INTER_CUBIC, "bilinear": cv2.INTER_LINEAR}
# Resizing is antialiased where a side shrinks by this factor or more: without antialias the values
# of a photo are then off by 5 grey levels on average, and by 10 at a factor of 6.
_ANTIALIAS_FROM = 2
# Sigmas after which the kernel ends.
BLUR_CUT = 3.0

# Weights of the channels in the grey value.
LUMA = np.array([0.299, 0.587, 0.114])
# A matrix (3, 4) multiplies the colour and adds its last column. This one changes nothing.
_SAME = np.eye(3, 4)


def resize(view, size, interpolation):
    """Resize to ``size`` x ``size``, "bicubic" or "bilinear"; strong shrinking is antialiased."""
    if max(view.shape[:2]) >= _ANTIALIAS_FROM * size:
        # nearer to PIL's result, and faster, than OpenCV's INTER_AREA
        return render_exact.resize(view, size, interpolation)
    return cv2.resize(view, (size, size), interpolation=_FLAGS[interpolation])


def change_colours(view, jitter, gray):
    """Apply the jitter to uint8 (S, S, 3) and, if ``gray``, drop the colour: then (S, S)."""
    matrix = _SAME
    for name, factor in jitter:
        if name == "hue":  # not linear: the pixels must be up to date
            view, matrix = _shift_hue(_apply(matrix, view), factor), _SAME
        else:
            matrix = _JITTER[name](matrix, factor, view)
    return _apply(LUMA[None] @ matrix if gray else matrix, view)


def blur(view, taps):
    """Blur along both axes with the given taps."""
    return cv2.sepFilter2D(view, -1, taps, taps, borderType=cv2.BORDER_REFLECT_101)


def _apply(matrix, view):
    return view if matrix is _SAME else cv2.transform(view, matrix)


def _brightness(matrix, factor, view):
    return factor * matrix


def _contrast(matrix, factor, view):
    # Blended with the mean grey value at this point. No pass over changed pixels is needed: the
    # matrix maps the mean like any colour.
    mean = matrix[:, :3] @ cv2.mean(view)[:3] + matrix[:, 3]
    matrix = factor * matrix
    matrix[:, 3] += (1.0 - factor) * (LUMA @ mean)
    return matrix


def _saturation(matrix, factor, view):
    return factor * matrix + (1.0 - factor) * (LUMA @ matrix)


def _shift_hue(view, turns):
    """Shift the hue as HSV does, by sums and comparisons of whole images instead of HSV.

    The hue moves along a hexagon: on each side one channel is the largest, one the smallest, and
    the third rises or falls between them. After a shift by s sides, 0 <= s <= 1, red is one of the
    following, clipped to the smallest and the largest channel:

        (2 - s) r - g + s b    if it was the largest or the smallest, and begins to change
        r - s g + s b          if it was in between

    If red falls (blue is smallest) it is the larger of the two; if red rises (blue is largest) the
    smaller. Both are the median of the two and 2 r + g - 2 b, which is above both if red falls and
    below both if it rises. The same holds for green and blue in cyclic order; a shift by a third of
    a turn permutes the channels.
    """
    thirds = round(3 * turns)
    sides = 6 * turns - 2 * thirds  # in [-1, 1]
    s = abs(sides)
    rows = ((2 - s, -1, s), (1, -s, s), (2, 1, -2))
    if sides < 0:  # the opposite direction: green and blue change places
        rows = tuple((red, blue, green) for red, green, blue in rows)
    ends, between, beyond = (cv2.transform(view, _cyclic(row, thirds)) for row in rows)
    shifted = cv2.max(cv2.min(ends, between), cv2.min(cv2.max(ends, between), beyond))
    red, green, blue = cv2.split(view)
    largest = cv2.max(cv2.max(red, green), blue)
    smallest = cv2.min(cv2.min(red, green), blue)
    shifted = cv2.min(shifted, cv2.cvtColor(largest, cv2.COLOR_GRAY2RGB))
    return cv2.max(shifted, cv2.cvtColor(smallest, cv2.COLOR_GRAY2RGB))


def _cyclic(row, thirds):
    """Return the (3, 3) matrix of first row ``row``, for a hue ``thirds`` thirds of a turn on."""
    a, b, c = row
    rows = [(a, b, c), (c, a, b), (b, c, a)]
    return np.array(rows[-thirds:] + rows[:-thirds], np.float64)


_JITTER = {"brightness": _brightness, "contrast": _contrast, "saturation": _saturation}
