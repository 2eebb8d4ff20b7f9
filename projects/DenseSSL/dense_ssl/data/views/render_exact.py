"""Views whose every operation is torchvision's on PIL images, within one grey level, but faster.

The result of each operation is uint8, as it is there, and rounded or cut off as it is there; the
work is done by torch (resize) and OpenCV (colour, blur).
"""

from functools import lru_cache

import cv2
import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from .photometry import blur_radius

INTERPOLATIONS = ("bicubic", "bilinear")

# Added where PIL drops the fraction and OpenCV rounds; not quite a half, for a whole number has to
# stay what it is.
_DROP_FRACTION = -0.499
# Sigmas after which a Gaussian no longer changes a grey level.
_BLUR_CUT = 4.0
# torch resizes uint8 with antialias, in PIL's fixed-point arithmetic, from this version on.
_TORCH_RESIZES = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 1)

# 512 * (g - r) + (b - r), moved so that the smallest is 0: the place of a colour in _hue_table.
_HUE_INDEX = np.array([[-513.0, 512.0, 1.0, 255.0 * 513.0]], np.float32)


def render(image, box, size, interpolation, flip, photometry):
    """Make one view.

    Args:
        image: uint8 (H, W, 3), RGB, contiguous.
        box: integer (left, top, width, height) in image pixels, inside the image.
        size: side of the view in pixels.
        interpolation: "bicubic" or "bilinear", both with antialias.
        flip: mirror the view horizontally.
        photometry: :class:`Photometry`.

    Returns:
        uint8 (size, size, 3), RGB, contiguous.
    """
    view = resize(crop(image, box), size, interpolation)
    if flip:
        view = cv2.flip(view, 1)
    for name, factor in photometry.jitter:
        view = _JITTER[name](view, factor)
    if photometry.gray:  # one channel until the end: blur is then three times as fast
        view = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY)
    if photometry.blur_sigma:
        view = _gaussian_blur(view, photometry.blur_sigma)
    if photometry.blur_resize:
        view = resize(resize(view, round(size / photometry.blur_resize), "bicubic"), size)
    if photometry.solarize_threshold is not None:
        view = cv2.LUT(view, solarize_table(photometry.solarize_threshold))
    return cv2.cvtColor(view, cv2.COLOR_GRAY2RGB) if view.ndim == 2 else view


def crop(image, box):
    """The part of an image (H, W, 3) inside ``box``, not copied if it is writable."""
    left, top, width, height = box
    part = image[top : top + height, left : left + width]
    if image.dtype != np.uint8 or part.shape != (height, width, 3):
        raise ValueError(
            f"A view needs an image of uint8 (H, W, 3) and a box inside it, got {image.dtype} "
            f"{image.shape} and {tuple(box)}."
        )
    return part if part.flags.writeable else part.copy()  # torch warns of read-only memory


def check_interpolation(name):
    """Raise if ``name`` is no interpolation of views."""
    if name not in INTERPOLATIONS:
        raise ValueError(
            f"INPUT.VIEWS.INTERPOLATION must be one of {INTERPOLATIONS}, got {name!r}."
        )


def resize(image, size, interpolation="bicubic"):
    """Resize to ``size`` x ``size`` with antialias, as PIL does.

    Args:
        image: uint8 (H, W, 3) or (H, W).

    Returns:
        uint8 (size, size, 3) or (size, size), contiguous, in memory of its own.
    """
    check_interpolation(interpolation)
    height, width = image.shape[:2]
    if not _TORCH_RESIZES:
        resample = getattr(Image, interpolation.upper())
        return np.array(Image.fromarray(image).resize((size, size), resample))
    pixels = image.reshape(height, width, -1)
    pixels = torch.from_numpy(pixels).unsqueeze(0).permute(0, 3, 1, 2)  # (1, C, H, W)
    if height > size and height > width:
        # PIL (since 13) then shrinks the height first. The pass between rounds and clips, so the
        # order shows where bicubic overshoots.
        pixels = F.interpolate(pixels, (size, width), mode=interpolation, antialias=True)
    pixels = F.interpolate(pixels, (size, size), mode=interpolation, antialias=True)
    pixels = pixels[0].permute(1, 2, 0).contiguous().numpy()  # (C, H, W) -> (H, W, C)
    return pixels.reshape((size, size) + image.shape[2:])


@lru_cache(maxsize=8)
def solarize_table(threshold):
    """uint8 (256,), the solarised value of each grey level."""
    levels = np.arange(256, dtype=np.uint8)
    return np.where(levels < threshold, levels, 255 - levels)


def _brightness(view, factor):
    return cv2.addWeighted(view, factor, view, 0.0, _DROP_FRACTION)


def _contrast(view, factor):
    mean = int(cv2.mean(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY))[0] + 0.5)
    return cv2.addWeighted(view, factor, view, 0.0, mean * (1.0 - factor) + _DROP_FRACTION)


def _saturation(view, factor):
    gray = cv2.cvtColor(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(view, factor, gray, 1.0 - factor, _DROP_FRACTION)


def _hue(view, factor):
    """Shift the hue in PIL's HSV, whose hue has 256 steps and is cut off, not rounded.

    One step of hue is up to six grey levels, so PIL's own hue is needed to the last bit. It
    depends on the differences of the channels only: a table holds it.
    """
    red, green, blue = cv2.split(view)
    value = cv2.max(cv2.max(red, green), blue)
    chroma = cv2.subtract(value, cv2.min(cv2.min(red, green), blue))
    index = cv2.transform(view.astype(np.float32), _HUE_INDEX)
    hue = _hue_table().take(index.astype(np.intp), mode="wrap")  # the fastest mode; none is outside
    saturation = cv2.divide(chroma, cv2.max(value, 1), scale=255.0, dtype=cv2.CV_32F)
    saturation = np.floor(saturation) / np.float32(255.0)
    steps = (np.arange(256) + int(factor * 255)) % 256
    degrees = cv2.LUT(hue, (steps * (360.0 / 255.0)).astype(np.float32))
    hsv = cv2.merge([degrees, saturation, value.astype(np.float32)])
    return cv2.convertScaleAbs(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


@lru_cache(maxsize=1)
def _hue_table():
    """uint8 (511 * 512,), PIL's hue at each index of ``_HUE_INDEX``."""
    green, blue = np.meshgrid(np.arange(-255, 256), np.arange(-255, 257), indexing="ij")
    low = np.minimum(np.minimum(green, blue), 0)
    high = np.maximum(np.maximum(green, blue), 0)
    colors = np.stack([-low, green - low, blue - low], axis=-1)
    colors[high - low > 255] = 0  # no colour has such differences
    return np.array(Image.fromarray(colors.astype(np.uint8)).convert("HSV"))[..., 0].ravel()


def _gaussian_blur(view, sigma):
    radius = blur_radius(sigma, len(view), _BLUR_CUT)
    if not radius:
        return view
    taps = cv2.getGaussianKernel(2 * radius + 1, sigma, cv2.CV_32F)
    # In float: OpenCV's uint8 filters round the taps or the result of the first pass.
    blurred = cv2.sepFilter2D(view, cv2.CV_32F, taps, taps, borderType=cv2.BORDER_REFLECT_101)
    return cv2.convertScaleAbs(blurred)


_JITTER = {
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "hue": _hue,
}
