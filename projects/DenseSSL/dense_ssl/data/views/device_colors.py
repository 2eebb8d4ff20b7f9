"""The colours of a batch of views, computed on the device of the model (INPUT.COLOR_ON_DEVICE).

The operations, their order and their parameters are those of ``render_fast.py``, for all views at
once and without waiting for the device. Results are rounded where those of uint8 images are.
"""

import functools

import torch
from torch.nn import functional as F

from . import render_fast
from .photometry import RESIZE_FACTORS, blur_radius

_KINDS = ("brightness", "contrast", "saturation", "hue")
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(len(_KINDS))
_SLOTS = len(_KINDS)  # operations of the jitter, in their order
_NONE = -1.0
_NEVER = 256.0  # a grey level that no value reaches
# Pixels that are changed at once: 64 views of 224 pixels, which take about 250 MB, or on a GPU 512.
# There the host would launch the kernels of small parts more slowly than they run.
_CHUNK = {"cpu": 64 * 224**2, "cuda": 512 * 224**2}


def pack(photometry, size):
    """Return a :class:`~.photometry.Photometry` as numbers, float32 (13,).

    Four times the number of an operation and its factor, then grey (0 or 1), the Gaussian's sigma
    and taps on each side, the factor of the resizing blur, and the grey level to invert from.

    Args:
        size: side of the view in pixels.
    """
    jitter = [x for name, factor in photometry.jitter for x in (_KINDS.index(name), factor)]
    empty = [_NONE, 0.0] * (_SLOTS - len(photometry.jitter))
    threshold = photometry.solarize_threshold
    return torch.tensor([
        *jitter, *empty, photometry.gray, photometry.blur_sigma,
        blur_radius(photometry.blur_sigma, size, render_fast.BLUR_CUT), photometry.blur_resize,
        _NEVER if threshold is None else threshold,
    ], dtype=torch.float32)  # fmt: skip


@torch.no_grad()
def change_views(images, packed, input_format="RGB"):
    """Apply the operations to a batch of views.

    Args:
        images: uint8 (N, 3, S, S).
        packed: float32 (N, 13) of :func:`pack`, on the same device.
        input_format: order of the channels, "RGB" or "BGR".

    Returns:
        uint8 (N, 3, S, S), in the memory format of ``images``.
    """
    result = torch.empty_like(images)
    pixels = _CHUNK.get(images.device.type, _CHUNK["cpu"])
    size = max(pixels // images.shape[-1] ** 2, 1)
    with torch.autocast(images.device.type, enabled=False):
        for x, numbers, out in zip(*(y.split(size) for y in (images, packed, result))):
            x = x.flip(1) if input_format == "BGR" else x
            x = _change(x.float(), numbers)
            out.copy_(x.flip(1) if input_format == "BGR" else x)
    return result


def _change(x, packed):
    kinds, factors = packed[:, 0 : 2 * _SLOTS : 2], packed[:, 1 : 2 * _SLOTS : 2]  # (N, 4)
    gray, sigma, radius, resize, threshold = packed[:, 2 * _SLOTS :].unbind(1)  # (N,)
    is_hue = kinds == _HUE
    from_hue = is_hue.cumsum(1) > 0
    x = _multiply(_matrix(x, kinds, factors, ~from_hue), x)
    x = _shift_hue(x, (factors * is_hue).sum(1))
    matrix = _matrix(x, kinds, factors, from_hue)
    luma = (_luma(x.device) @ matrix).unsqueeze(1)  # (N, 1, 4)
    x = _multiply(torch.where(gray[:, None, None] > 0, luma, matrix), x)
    blurs = _blurs(x.shape[-1], sigma, radius, resize).unsqueeze(1)  # (N, 1, S, S)
    x = _levels(blurs @ x @ blurs.transpose(2, 3))
    return torch.where(x >= threshold[:, None, None, None], 255 - x, x)


def _levels(x):
    """Round to grey levels, as a uint8 image does."""
    return x.round_().clamp_(0, 255)


def _matrix(x, kinds, factors, active):
    """Return the linear operations that are active as one matrix, see ``render_fast.py``.

    Args:
        x: (N, 3, S, S). kinds, factors, active: (N, 4).

    Returns:
        (N, 3, 4), which multiplies a colour and adds its last column.
    """
    luma, mean = _luma(x.device), x.mean((2, 3)).unsqueeze(2)  # (N, 3, 1)
    matrix = torch.eye(3, 4, device=x.device).repeat(len(x), 1, 1)
    for kind, factor, is_active in zip(kinds.unbind(1), factors.unbind(1), active.unbind(1)):
        kind = kind.masked_fill(~is_active, _NONE)[:, None, None]
        factor = factor[:, None, None]
        gray = (luma @ matrix).unsqueeze(1)  # (N, 1, 4)
        # at this point the mean colour is matrix * mean
        gray_mean = gray[..., :3] @ mean + gray[..., 3:]
        scaled = factor * matrix
        saturated = scaled + (1 - factor) * gray
        contrasted = torch.cat([scaled[..., :3], scaled[..., 3:] + (1 - factor) * gray_mean], 2)
        matrix = torch.where(kind == _BRIGHTNESS, scaled, matrix)
        matrix = torch.where(kind == _CONTRAST, contrasted, matrix)
        matrix = torch.where(kind == _SATURATION, saturated, matrix)
    return matrix


def _multiply(matrix, x):
    """Multiply each colour of x (N, 3, S, S) by (N, 3, 3 or 4), and round."""
    found = (matrix[..., :3] @ x.flatten(2)).view_as(x)
    return _levels(found if matrix.shape[2] == 3 else found + matrix[..., 3, None, None])


def _shift_hue(x, turns):
    """Shift the hue by (N,) turns, as ``render_fast._shift_hue`` does and explains."""
    thirds = (3 * turns).round()
    sides = 6 * turns - 2 * thirds
    s, one = sides.abs(), torch.ones_like(sides)
    # (3 rows, 3 coefficients, N); the opposite direction: green and blue change places
    rows = [(2 - s, -one, s), (one, -s, s), (2 * one, one, -2 * one)]
    rows = torch.stack([torch.stack(x) for x in rows])
    rows = torch.where(sides < 0, torch.cat([rows[:, :1], rows[:, 1:].flip(1)], 1), rows)
    place = _differences(x.device) + thirds.long()[:, None, None]  # (N, 3, 3)
    matrices = [row.T[:, None].expand(-1, 3, -1).gather(2, place % 3) for row in rows]
    ends, between, beyond = (_multiply(matrix, x) for matrix in matrices)
    shifted = torch.maximum(
        torch.minimum(ends, between), torch.minimum(torch.maximum(ends, between), beyond)
    )
    return torch.minimum(torch.maximum(shifted, x.amin(1, True)), x.amax(1, True))


def _blurs(size, sigma, radius, resize):
    """Return the blur of each view as a matrix (N, S, S) that multiplies rows and columns."""
    resizes, places = _resizes(size, sigma.device), _places(size, sigma.device)
    taps = torch.arange(places.shape[1], device=sigma.device) - places.shape[1] // 2  # (T,)
    weights = torch.exp(-(taps**2) / (2 * sigma.clamp(min=1e-3)[:, None] ** 2))
    weights = weights * (taps.abs() <= radius[:, None])
    weights = weights / weights.sum(1, True)  # (N, T)
    blurs = sigma.new_zeros(len(sigma), size, size)
    blurs.scatter_add_(2, places.expand(len(sigma), -1, -1), weights[:, None].expand(-1, size, -1))
    for factor, matrix in resizes.items():
        blurs = torch.where((resize - factor).abs()[:, None, None] < 1e-3, matrix, blurs)
    return blurs


@functools.cache
def _luma(device):
    return torch.tensor(render_fast.LUMA, dtype=torch.float32).to(device)


@functools.cache
def _differences(device):
    """(3, 3) numbers, column minus row: the first row in cyclic order."""
    numbers = torch.arange(3, device=device)
    return numbers[None] - numbers[:, None]


@functools.cache
def _places(size, device):
    """(S, T) places that T taps around each of S places fall on, mirrored at the border."""
    reach = size // 20  # the most that blur_radius gives
    places = torch.arange(size)[:, None] + torch.arange(-reach, reach + 1)
    places = places.abs()
    return torch.where(places >= size, 2 * (size - 1) - places, places).to(device)


@functools.cache
def _resizes(size, device):
    """Return {factor: (S, S)}, shrinking a row by a factor and enlarging it again."""
    found = {}
    row = torch.eye(size)[None, :, None]  # (1, S places, 1, S): images of one bright column
    for factor in RESIZE_FACTORS:
        small = F.interpolate(row, (1, max(int(size / factor), 1)), mode="bicubic", antialias=True)
        back = F.interpolate(small, (1, size), mode="bicubic", align_corners=False)
        found[factor] = back[0, :, 0].T.contiguous().to(device)  # (S, S places)
    return found
