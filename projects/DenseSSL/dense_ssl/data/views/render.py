"""Rendering a view: the order of the operations, whose pixel work is done by a backend."""

from functools import lru_cache, partial

import cv2
import numpy as np

from ...utils.checks import require_one_of
from . import render_exact, render_fast
from .photometry import blur_radius

_BACKENDS = {"exact": render_exact, "fast": render_fast}


def get_renderer(name):
    """Return the function that makes a view's pixels.

    Args:
        name: "exact" (each operation as torchvision does it on PIL images) or "fast" (the linear
            colour operations of a view as one matrix).

    Returns:
        ``render(image, box, size, interpolation, flip, photometry)``, see :func:`render`.
    """
    require_one_of("INPUT.VIEWS.BACKEND", name, tuple(_BACKENDS))
    return partial(render, name)


def render(name, image, box, size, interpolation, flip, photometry):
    """Make one view.

    Args:
        name: of the backend.
        image: uint8 (H, W, 3), RGB, contiguous.
        box: integer (left, top, width, height) in image pixels, inside the image.
        size: side of the view in pixels.
        interpolation: "bicubic" or "bilinear"; with antialias in the exact backend, and in the
            fast one where a side shrinks by 2 or more.
        flip: mirror the view horizontally.
        photometry: :class:`~dense_ssl.data.views.photometry.Photometry`.

    Returns:
        uint8 (size, size, 3), RGB, contiguous.
    """
    backend = _BACKENDS[name]
    view = backend.resize(_crop(image, box), size, interpolation)
    if flip:
        view = cv2.flip(view, 1)
    # grey is one channel until the end: blur is then three times as fast
    view = backend.change_colours(view, photometry.jitter, photometry.gray)
    radius = blur_radius(photometry.blur_sigma, size, backend.BLUR_CUT)
    if radius:
        taps = cv2.getGaussianKernel(2 * radius + 1, photometry.blur_sigma, cv2.CV_32F)
        view = backend.blur(view, taps)
    if photometry.blur_resize:
        # whole pixels, rounded down as in SCRL's code; without antialias it would hardly be a blur
        small = render_exact.resize(view, max(int(size / photometry.blur_resize), 1), "bicubic")
        view = backend.resize(small, size, "bicubic")
    if photometry.solarize_threshold is not None:
        view = cv2.LUT(view, _solarize_table(photometry.solarize_threshold))
    return cv2.cvtColor(view, cv2.COLOR_GRAY2RGB) if view.ndim == 2 else view


def _crop(image, box):
    """Return the part of an image (H, W, 3) inside ``box``, not copied if it is writable."""
    left, top, width, height = box
    part = image[top : top + height, left : left + width]
    if image.dtype != np.uint8 or part.shape != (height, width, 3):
        raise ValueError(
            f"A view needs an image of uint8 (H, W, 3) and a box inside it, got {image.dtype} "
            f"{image.shape} and {tuple(box)}."
        )
    return part if part.flags.writeable else part.copy()  # torch warns of read-only memory


@lru_cache(maxsize=8)
def _solarize_table(threshold):
    """Return the solarised value of each grey level, uint8 (256,)."""
    levels = np.arange(256, dtype=np.uint8)
    return np.where(levels < threshold, levels, 255 - levels)
