"""Views made with as few passes over the pixels as possible.

Brightness, contrast, saturation and grey are linear in the colour: all that stand on the same side
of the hue shift are one matrix, applied once. What this changes against ``render_exact.py``: one
rounding and one clip per matrix instead of one per operation, the hue in finer steps than PIL's, no
antialias, and a blur that ends at three sigmas.

The hue shift is HSV's, as in torchvision. A rotation in YIQ would be linear and go into the matrix,
but on photographs it is further from HSV's result (10 grey levels on average, for a tenth of a
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


def _shift_hue(view, factor):
    hsv = cv2.cvtColor(view, cv2.COLOR_RGB2HSV_FULL)
    hue = hsv[..., 0]  # 256 steps a turn: uint8 wraps round by itself
    np.add(hue, np.uint8(round(factor * 256) % 256), out=hue)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def _gaussian_blur(view, sigma):
    radius = blur_radius(sigma, len(view), _BLUR_CUT)
    if not radius:
        return view
    taps = cv2.getGaussianKernel(2 * radius + 1, sigma, cv2.CV_32F)
    return cv2.sepFilter2D(view, -1, taps, taps, borderType=cv2.BORDER_REFLECT_101)


_JITTER = {"brightness": _brightness, "contrast": _contrast, "saturation": _saturation}
