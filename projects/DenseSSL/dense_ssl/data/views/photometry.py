"""Photometry of a view: which colour operations it gets, drawn before any pixel is touched.

The parameters follow torchvision's ``ColorJitter``, ``RandomGrayscale``, ``GaussianBlur`` and
``RandomSolarize``. Drawing is separate from rendering, so that every backend
(``render_exact.py``, ``render_fast.py``) gets the same views from the same seed.
"""

import math
from dataclasses import dataclass
from itertools import permutations
from typing import Optional, Tuple

# Blur widths are given in pixels of a view of this side.
REFERENCE_SIZE = 224
# The factors that blur "resize" shrinks a view by.
RESIZE_FACTORS = (1.1, 1.2, 1.5)

_OPERATIONS = ("brightness", "contrast", "saturation", "hue")
_ORDERS = tuple(permutations(range(len(_OPERATIONS))))


@dataclass(frozen=True)
class PhotometrySettings:
    """Settings of one view, named as the keys of INPUT.VIEWS; the defaults do not change it.

    ``config/data.py`` explains them. ``blur_sigma`` is for a view of side 224 and grows with
    ``size``.
    """

    jitter_prob: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    gray_prob: float = 0.0
    blur_prob: float = 0.0
    blur: str = "gaussian"
    blur_sigma: Tuple[float, float] = (0.1, 2.0)
    solarize_prob: float = 0.0
    solarize_threshold: int = 128
    size: int = REFERENCE_SIZE


@dataclass(frozen=True)
class Photometry:
    """The operations on one view, in the order of the attributes; the default is none.

    Attributes:
        jitter: (name, factor) of the jitter's operations in the order to apply them; names
            "brightness", "contrast", "saturation" and "hue".
        gray: drop the colour.
        blur_sigma: Gaussian blur of this width in view pixels; 0 for none.
        blur_resize: shrink by this factor and enlarge again; 0 for none.
        solarize_threshold: invert values from this grey level on; None for none.
    """

    jitter: Tuple[Tuple[str, float], ...] = ()
    gray: bool = False
    blur_sigma: float = 0.0
    blur_resize: float = 0.0
    solarize_threshold: Optional[int] = None


def draw_photometry(settings, rng):
    """Draw the operations on one view.

    Args:
        settings: :class:`PhotometrySettings`.
        rng: numpy Generator; ten numbers are always drawn, so that later draws do not depend on the
            settings.

    Returns:
        :class:`Photometry`.
    """
    jitter, order, *strengths, gray, blur, blur_value, solarize = rng.random(10).tolist()
    sigma = factor = 0.0
    if blur < settings.blur_prob:
        if settings.blur == "gaussian":
            low, high = settings.blur_sigma
            sigma = (low + blur_value * (high - low)) * settings.size / REFERENCE_SIZE
        else:
            factor = RESIZE_FACTORS[int(blur_value * len(RESIZE_FACTORS))]
    return Photometry(
        jitter=_jitter(settings, order, strengths) if jitter < settings.jitter_prob else (),
        gray=gray < settings.gray_prob,
        blur_sigma=sigma,
        blur_resize=factor,
        solarize_threshold=(
            settings.solarize_threshold if solarize < settings.solarize_prob else None
        ),
    )


def _jitter(settings, order, strengths):
    """Return (name, factor) of the active operations, from uniform numbers in [0, 1)."""
    operations = []
    for index in _ORDERS[int(order * len(_ORDERS))]:
        name, uniform = _OPERATIONS[index], strengths[index]
        change = getattr(settings, name)
        if not change:  # torchvision leaves such an operation out, hue's rounding included
            continue
        low, high = (-change, change) if name == "hue" else (max(0.0, 1.0 - change), 1.0 + change)
        operations.append((name, low + uniform * (high - low)))
    return tuple(operations)


def blur_radius(sigma, size, cut):
    """Return the number of taps of a Gaussian kernel on each side of its centre.

    Args:
        sigma: width in pixels.
        size: side of the view in pixels. The kernel spans a tenth of it at most (23 taps at 224),
            as in the BYOL recipe.
        cut: sigmas from the centre beyond which a tap is left out.

    Returns:
        int; 0 if the blur changes nothing.
    """
    # Tap r covers r - 0.5 to r + 0.5.
    return max(min(math.ceil(cut * sigma - 0.5), size // 20), 0)
