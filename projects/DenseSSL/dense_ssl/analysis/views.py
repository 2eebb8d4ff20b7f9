"""Views of the images of analyses: crops, flips and colours as pre-training has them."""

from dataclasses import dataclass, field

import numpy as np
import torch

from ..data.views.crops import crop_affine, draw_crop
from ..data.views.photometry import Photometry, PhotometrySettings, draw_photometry
from ..data.views.render import get_renderer
from ..structures import Views

RATIO = (3 / 4, 4 / 3)
_TRIES = 50  # crops that are drawn until one holds a box
_JITTER = {"jitter_prob": 0.8, "brightness": 0.4, "contrast": 0.4, "gray_prob": 0.2}
# Changes of colour by name: those of BYOL's first view, and of both views of MoCo v2.
_COLOURS = {
    "byol": {**_JITTER, "saturation": 0.2, "hue": 0.1, "blur_prob": 1.0},
    "moco": {**_JITTER, "saturation": 0.4, "hue": 0.1, "blur_prob": 0.5},
    "none": {},
}
COLOURS = tuple(_COLOURS)


@dataclass
class View:
    """One view of one image.

    Attributes:
        pixels: uint8 (side, side, 3) in RGB, as the backbone gets it.
        views: :class:`~dense_ssl.structures.Views` of this image alone, for its geometry.
        flip: it is mirrored.
        plain: function that returns the pixels without changes of colour, to draw them.
    """

    pixels: np.ndarray
    views: Views
    flip: bool
    plain: object = field(repr=False)


def make_view(image, crop, side, flip, colours, rng):
    """Make a view.

    Args:
        image: uint8 (H, W, 3) in RGB.
        crop: integer (left, top, width, height) in image pixels.
        side: of the view in pixels.
        flip: mirror it horizontally.
        colours: a name of :data:`COLOURS`.
        rng: numpy Generator; it advances by the same amount whatever the colours are.
    """
    settings = PhotometrySettings(size=side, **_COLOURS[colours])
    photometry = draw_photometry(settings, rng)
    render = get_renderer("exact")

    def plain():
        return render(image, crop, side, "bicubic", flip, Photometry())

    pixels = render(image, crop, side, "bicubic", flip, photometry)
    affine = torch.from_numpy(crop_affine(crop, side, flip))[None]
    return View(pixels, Views(torch.zeros(1).expand(1, 3, side, side), affine), flip, plain)


def whole(image):
    """Return the crop of a whole image."""
    return (0, 0, image.shape[1], image.shape[0])


def random_view(image, side, scale, flip_prob, colours, rng, box=None):
    """Make a view of a random resized crop.

    Args:
        image, side, colours, rng: of :func:`make_view`.
        scale: (low, high) share of the image's area.
        flip_prob: chance that it is mirrored.
        box: (4,) in image pixels that must lie in the crop; the whole image is taken if no crop
            of 50 holds it.
    """
    crop = None
    for _ in range(_TRIES):
        crop = draw_crop(rng, image.shape[1], image.shape[0], scale, RATIO)
        if box is None or holds(crop, box):
            break
    else:
        crop = whole(image)
    return make_view(image, crop, side, bool(rng.random() < flip_prob), colours, rng)


def random_pair(sample, options, box=None):
    """Return two random views of an image.

    Args:
        sample: :class:`~.samples.Sample`.
        options: of an analysis: ``side``, ``crop_scale``, ``flip_prob`` and ``colours``.
        box: see :func:`random_view`.
    """
    scale = (options.crop_scale, 1.0)
    return tuple(
        random_view(sample.image, options.side, scale, options.flip_prob, options.colours,
                    sample.rng, box)
        for _ in range(2)
    )  # fmt: skip


def holds(crop, box):
    """Return True if a box (x1, y1, x2, y2) lies in a crop (left, top, width, height)."""
    left, top, width, height = crop
    return (box[0] >= left and box[1] >= top
            and box[2] <= left + width and box[3] <= top + height)  # fmt: skip
