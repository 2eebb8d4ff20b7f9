"""Views made with as few passes over the pixels as possible.

Brightness, contrast, saturation and grey are linear in the colour: all that stand on the same side
of the hue shift are one matrix, applied once. What this changes against ``render_exact.py``: one
rounding and one clip per matrix instead of one per operation, a hue without PIL's 256 steps, no
antialias, and a blur that ends at three sigmas.

The hue shift is HSV's, as in torchvision. A rotation in YIQ would be linear and go into the matrix,
but on photographs it is further from HSV's result (10 to 11 grey levels at a tenth of a
turn) than no shift at all (8.5).
"""

import cv2
import numpy as np

from .photometry import blur_radius
from .render_exact import check_interpolation, crop, solarize_table

_FLAGS = {"bicubic": cv2.INTER_CUBIC, "bilinear": cv2.INTER_LINEAR}
_BLUR_CUT = 3.0

# Weights of the channels in the grey value.
_LUMA = np.array([0.299, 0.587, 0.114])
# Matrices are (3, 4): the colour's, and what is added. This one changes nothing.
_SAME = np.eye(3, 4)


def render(image, box, size, interpolation, flip, photometry):
    """Make one view.

    Args:
        image: uint8 (H, W, 3), RGB, contiguous.
        box: integer (left, top, width, height) in image pixels, inside the image.
        size: side of the view in pixels.
        interpolation: "bicubic" or "bilinear", both without antialias.
        flip: mirror the view horizontally.
        photometry: :class:`Photometry`.

    Returns:
        uint8 (size, size, 3), RGB, contiguous.
    """
    check_interpolation(interpolation)
    view = cv2.resize(crop(image, box), (size, size), interpolation=_FLAGS[interpolation])
    if flip:
        view = cv2.flip(view, 1)
    view = _color(view, photometry)
    if photometry.blur_sigma:
        view = _gaussian_blur(view, photometry.blur_sigma)
    if photometry.blur_resize:
        side = round(size / photometry.blur_resize)
        view = cv2.resize(view, (side, side), interpolation=cv2.INTER_CUBIC)
        view = cv2.resize(view, (size, size), interpolation=cv2.INTER_CUBIC)
    if photometry.solarize_threshold is not None:
        view = cv2.LUT(view, solarize_table(photometry.solarize_threshold))
    return cv2.cvtColor(view, cv2.COLOR_GRAY2RGB) if view.ndim == 2 else view


def _color(view, photometry):
    """Jitter and grey; uint8 (S, S, 3), or (S, S) where the colour is dropped."""
    matrix = _SAME
    for name, factor in photometry.jitter:
        if name == "hue":  # not linear: what came before has to be in the pixels
            view, matrix = _shift_hue(_apply(matrix, view), factor), _SAME
        else:
            matrix = _JITTER[name](matrix, factor, view)
    if photometry.gray:  # one channel until the end: blur is then three times as fast
        matrix = _LUMA[None] @ matrix  # (1, 4)
    return _apply(matrix, view)


def _apply(matrix, view):
    return view if matrix is _SAME else cv2.transform(view, matrix)


def _brightness(matrix, factor, view):
    return factor * matrix


def _contrast(matrix, factor, view):
    # Blended with the mean grey value at this point, which takes no pass over changed pixels: the
    # mean goes through the matrix like any colour.
    mean = matrix[:, :3] @ cv2.mean(view)[:3] + matrix[:, 3]
    matrix = factor * matrix
    matrix[:, 3] += (1.0 - factor) * (_LUMA @ mean)
    return matrix


def _saturation(matrix, factor, view):
    return factor * matrix + (1.0 - factor) * (_LUMA @ matrix)


def _shift_hue(view, turns):
    """Shift the hue as HSV does, by whole-image sums and comparisons instead of a detour over HSV.

    The hue runs round a hexagon: on each side one channel is the largest, one the smallest, and
    the third rises or falls in between. After a shift by s sides, 0 <= s <= 1, red is, held
    between the smallest and the largest channel,

        (2 - s) r - g + s b    where it was the largest or the smallest, and about to change
        r - s g + s b          where it was in between

    Where red falls (blue is smallest) that is the larger of the two, where it rises (blue is
    largest) the smaller: the median of both and of 2 r + g - 2 b, which is beyond both on either
    side. Green and blue are the same in turn; a third of a turn exchanges the channels.
    """
    thirds = round(3 * turns)
    sides = 6 * turns - 2 * thirds  # in [-1, 1]
    s = abs(sides)
    rows = ((2 - s, -1, s), (1, -s, s), (2, 1, -2))
    if sides < 0:  # the other way round: green and blue change places
        rows = tuple((red, blue, green) for red, green, blue in rows)
    ends, between, beyond = (cv2.transform(view, _cyclic(row, thirds)) for row in rows)
    shifted = cv2.max(cv2.min(ends, between), cv2.min(cv2.max(ends, between), beyond))
    red, green, blue = cv2.split(view)
    largest = cv2.max(cv2.max(red, green), blue)
    smallest = cv2.min(cv2.min(red, green), blue)
    shifted = cv2.min(shifted, cv2.cvtColor(largest, cv2.COLOR_GRAY2RGB))
    return cv2.max(shifted, cv2.cvtColor(smallest, cv2.COLOR_GRAY2RGB))


def _cyclic(row, thirds):
    """(3, 3) matrix whose first row is ``row``, for a hue ``thirds`` thirds of a turn further."""
    a, b, c = row
    rows = [(a, b, c), (c, a, b), (b, c, a)]
    return np.array(rows[-thirds:] + rows[:-thirds], np.float64)


def _gaussian_blur(view, sigma):
    radius = blur_radius(sigma, len(view), _BLUR_CUT)
    if not radius:
        return view
    taps = cv2.getGaussianKernel(2 * radius + 1, sigma, cv2.CV_32F)
    return cv2.sepFilter2D(view, -1, taps, taps, borderType=cv2.BORDER_REFLECT_101)


_JITTER = {"brightness": _brightness, "contrast": _contrast, "saturation": _saturation}
