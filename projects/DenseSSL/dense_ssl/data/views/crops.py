"""The geometry of views: drawing crops, and describing them by four numbers.

All coordinates are continuous edge coordinates (pixel k covers [k, k + 1]). A crop is integer
``(left, top, width, height)`` in image pixels.
"""

import math

import numpy as np


def draw_crop(rng, width, height, scale, ratio):
    """Draw the crop of a random resized crop.

    Area and aspect ratio are drawn as in BYOL. A crop that is larger than the image along one axis
    is cut there, so no draw is rejected and ``rng`` always advances by the same amount.

    Args:
        rng: numpy Generator; always four numbers are drawn.
        width, height: image size in pixels.
        scale: (low, high) share of the image area, uniform.
        ratio: (low, high) width / height, log-uniform.

    Returns:
        Integer (left, top, width, height).
    """
    area, log_ratio, x, y = rng.random(4)
    area = width * height * (scale[0] + area * (scale[1] - scale[0]))
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = math.exp(low + log_ratio * (high - low))
    crop_w = min(max(round(math.sqrt(area * aspect)), 1), width)
    crop_h = min(max(round(math.sqrt(area / aspect)), 1), height)
    left = min(int(x * (width - crop_w + 1)), width - crop_w)
    top = min(int(y * (height - crop_h + 1)), height - crop_h)
    return left, top, crop_w, crop_h


def crop_affine(crop, size, flip):
    """Return the affine map of crop, resize to ``size`` x ``size`` and optional horizontal flip.

    Returns:
        float64 (4,), ``(scale_x, shift_x, scale_y, shift_y)``: ``view = scale * image + shift``.
    """
    left, top, width, height = crop
    scale_x, scale_y = size / width, size / height
    shift_x, shift_y = -left * scale_x, -top * scale_y
    if flip:  # u -> size - u
        scale_x, shift_x = -scale_x, size - shift_x
    return np.array([scale_x, shift_x, scale_y, shift_y])


def overlap_in_view(first, second, size_first, size_second):
    """Return the smaller side of the overlap of two crops, in pixels of the view of lower zoom.

    Args:
        first, second: crops (left, top, width, height).
        size_first, size_second: sides of the two views in pixels.

    Returns:
        float; not positive if the crops are disjoint.
    """
    sides = []
    for axis in (0, 1):
        start = max(first[axis], second[axis])
        end = min(first[axis] + first[axis + 2], second[axis] + second[axis + 2])
        zoom = min(size_first / first[axis + 2], size_second / second[axis + 2])
        sides.append((end - start) * zoom)
    return min(sides)
