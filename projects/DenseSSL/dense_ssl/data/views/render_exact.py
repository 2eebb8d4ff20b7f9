"""Views whose operations are torchvision's on PIL images, but faster.

The result of each operation is uint8, as in torchvision, and rounded or cut off in the same way.
From the same input an operation is within one grey level of torchvision's (about one bicubic value
in a million is two levels off). Through a whole chain about one value in a thousand is more than
one level off, the worst by 8: one level more or less may change the step of PIL's hue, and a step
is up to six levels. torch does the resizing, OpenCV the colours and the blur.
"""

from functools import lru_cache

import cv2
import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

# Added where PIL drops the fraction and OpenCV rounds; not quite a half, because whole numbers must
# not change.
_DROP_FRACTION = -0.499
# Sigmas after which a Gaussian no longer changes a grey level.
BLUR_CUT = 4.0
# torch resizes uint8 with antialias, in PIL's fixed-point arithmetic, from this version on.
_TORCH_RESIZES = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 1)

# 512 * (g - r) + (b - r), shifted so that the smallest is 0: the index of a colour in _hue_table.
_HUE_INDEX = np.array([[-513.0, 512.0, 1.0, 255.0 * 513.0]], np.float32)


def resize(image, size, interpolation):
    """Resize to ``size`` x ``size`` with antialias, as PIL does.

    Args:
        image: uint8 (H, W, 3) or (H, W). interpolation: "bicubic" or "bilinear".

    Returns:
        uint8 (size, size, 3) or (size, size), contiguous, in memory of its own.
    """
    height, width = image.shape[:2]
    if not _TORCH_RESIZES:
        resample = getattr(Image, interpolation.upper())
        return np.array(Image.fromarray(image).resize((size, size), resample))
    pixels = image.reshape(height, width, -1)
    pixels = torch.from_numpy(pixels).unsqueeze(0).permute(0, 3, 1, 2)  # (1, C, H, W)
    if height > size and height > width:
        # PIL (since 13) then shrinks the height first. The result in between is rounded and
        # clipped, so the order matters where bicubic overshoots.
        pixels = F.interpolate(pixels, (size, width), mode=interpolation, antialias=True)
    pixels = F.interpolate(pixels, (size, size), mode=interpolation, antialias=True)
    pixels = pixels[0].permute(1, 2, 0).contiguous().numpy()  # (C, H, W) -> (H, W, C)
    return pixels.reshape((size, size) + image.shape[2:])


def change_colours(view, jitter, gray):
    """Apply the jitter to uint8 (S, S, 3) and, if ``gray``, drop the colour: then (S, S)."""
    for name, factor in jitter:
        view = _JITTER[name](view, factor)
    return cv2.cvtColor(view, cv2.COLOR_RGB2GRAY) if gray else view


def blur(view, taps):
    """Blur along both axes with the given taps."""
    # In float: OpenCV's uint8 filters round the taps or the result of the first pass.
    blurred = cv2.sepFilter2D(view, cv2.CV_32F, taps, taps, borderType=cv2.BORDER_REFLECT_101)
    return cv2.convertScaleAbs(blurred)


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
    depends only on the differences of the channels, so a table can hold it.
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
    """Return PIL's hue at each index of ``_HUE_INDEX``, uint8 (511 * 512,)."""
    green, blue = np.meshgrid(np.arange(-255, 256), np.arange(-255, 257), indexing="ij")
    low = np.minimum(np.minimum(green, blue), 0)
    high = np.maximum(np.maximum(green, blue), 0)
    colors = np.stack([-low, green - low, blue - low], axis=-1)
    colors[high - low > 255] = 0  # no colour has such differences
    return np.array(Image.fromarray(colors.astype(np.uint8)).convert("HSV"))[..., 0].ravel()


_JITTER = {
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "hue": _hue,
}
