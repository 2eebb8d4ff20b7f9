"""The geometry of views: drawing crops, and describing them by four numbers.

All coordinates are continuous edge coordinates (pixel k covers [k, k + 1]). A crop is integer
``(left, top, width, height)`` in image pixels.
"""

import math

import numpy as np

SAMPLERS = ("torchvision", "clamp")
# Draws of an area and an aspect ratio, as many as torchvision makes.
_TRIES = 10


def draw_crop(rng, width, height, scale, ratio, sampler="torchvision"):
    """Draw the crop of a random resized crop.

    Both samplers draw the same numbers. Where the first area and aspect ratio fit the image, they
    return the same crop.

    Args:
        rng: numpy Generator; it always advances by the same amount, however many tries are needed.
        width, height: image size in pixels.
        scale: (low, high) share of the image area, uniform.
        ratio: (low, high) width / height, log-uniform.
        sampler: what happens to a crop that is larger than the image along one axis.
            "torchvision": it is drawn again, up to ten times in all, and then the largest centred
            crop of an allowed ratio is taken (``torchvision.transforms.RandomResizedCrop``).
            "clamp": it is cut there (BYOL's JAX code), which gives larger crops on average.

    Returns:
        Integer (left, top, width, height).
    """
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for area, log_ratio, x, y in rng.random((_TRIES, 4)).tolist():
        area = width * height * (scale[0] + area * (scale[1] - scale[0]))
        aspect = math.exp(low + log_ratio * (high - low))
        crop_w, crop_h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if sampler == "clamp":
            crop_w, crop_h = min(max(crop_w, 1), width), min(max(crop_h, 1), height)
        if 0 < crop_w <= width and 0 < crop_h <= height:
            left, top = int(x * (width - crop_w + 1)), int(y * (height - crop_h + 1))
            return left, top, crop_w, crop_h
    return _centre_crop(width, height, ratio)


def _centre_crop(width, height, ratio):
    """Return the largest centred crop whose width / height lies within ``ratio``."""
    crop_w = min(width, max(round(height * ratio[1]), 1))
    crop_h = min(height, max(round(width / ratio[0]), 1))
    return (width - crop_w) // 2, (height - crop_h) // 2, crop_w, crop_h


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
