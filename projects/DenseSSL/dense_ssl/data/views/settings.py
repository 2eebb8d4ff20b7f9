"""How each view is made: the keys of INPUT.VIEWS, one entry per view or one for all."""

from dataclasses import dataclass, fields
from typing import Tuple

from ...utils.checks import require_one_of, value_of
from .crops import SAMPLERS
from .photometry import PhotometrySettings

_CHOICES = {
    "crop": ("random", "whole", "same"),
    "crop_sampler": SAMPLERS,
    "blur": ("gaussian", "resize"),
    "interpolation": ("bicubic", "bilinear"),
}
_INFINITY = float("inf")
_RANGES = {
    "size": (1, _INFINITY),
    **dict.fromkeys(("brightness", "contrast", "saturation"), (0, _INFINITY)),
    "hue": (0, 0.5),
    **{f"{x}_prob": (0, 1) for x in ("flip", "jitter", "gray", "blur", "solarize")},
}
# Keys that hold a pair, and the least value of its numbers.
_PAIRS = {"crop_scale": 1e-9, "crop_ratio": 1e-9, "blur_sigma": 0}


@dataclass(frozen=True)
class ViewSettings(PhotometrySettings):
    """How one view is made: the keys of INPUT.VIEWS for one view, in lower case."""

    crop: str = "random"
    crop_sampler: str = "torchvision"
    crop_scale: Tuple[float, float] = (0.08, 1.0)
    crop_ratio: Tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bicubic"
    flip_prob: float = 0.0


def entry_of_view(values, view):
    """Return what a key of INPUT.VIEWS says of a view: its own entry, or the one for all."""
    return values[view] if len(values) > max(view, 1) else values[0]


def require_even_cells(cfg, view, stride, key, least=1):
    """Raise where the cells of a map do not divide a view evenly: their places would be wrong.

    Args:
        cfg: config. view: its number.
        stride: of the map, in pixels.
        key: config key that names the map.
        least: cells along a side that a proposed size has at least.
    """
    size = entry_of_view(cfg.INPUT.VIEWS.SIZE, view)
    if size % stride:
        raise ValueError(
            f"INPUT.VIEWS.SIZE is {size} for view {view}, no multiple of the stride {stride} of "
            f"{key} {value_of(cfg, key)!r}: make it {max(round(size / stride), least) * stride}, "
            "so that cells divide it evenly."
        )


def view_settings(node):
    """Return the settings of every view, a list of :class:`ViewSettings`.

    Args:
        node: the config node INPUT.VIEWS, whose keys hold one entry per view or one for all.
    """
    keys = [x.name for x in fields(ViewSettings)]
    for key in keys:
        count = len(node[key.upper()])
        if count not in (1, node.NUM):
            raise ValueError(
                f"INPUT.VIEWS.{key.upper()} has {count} entries for INPUT.VIEWS.NUM {node.NUM} "
                "views: give one per view, or a single one for all."
            )
    settings = []
    for view in range(node.NUM):
        values = {key: entry_of_view(node[key.upper()], view) for key in keys}
        _check(values)
        settings.append(ViewSettings(**values))
    if settings and settings[0].crop == "same":
        raise ValueError(
            f'INPUT.VIEWS.CROP is {tuple(node.CROP)}: the first view cannot have the "same" crop '
            'as itself. Set its entry to "random" or "whole".'
        )
    return settings


def _check(values):
    """Raise, naming the key, if an entry of one view is not allowed."""
    for key, allowed in _CHOICES.items():
        require_one_of(f"INPUT.VIEWS.{key.upper()}", values[key], allowed)
    for key, (low, high) in _RANGES.items():
        if not low <= values[key] <= high:
            raise ValueError(
                f"INPUT.VIEWS.{key.upper()} is {values[key]}; it must be between {low} and {high}."
            )
    for key, least in _PAIRS.items():
        pair = values[key]
        is_pair = isinstance(pair, (list, tuple)) and len(pair) == 2
        if not is_pair or not least <= pair[0] <= pair[1]:
            raise ValueError(
                f"INPUT.VIEWS.{key.upper()} is {pair!r}; each entry must be a pair (low, high) of "
                f'positive numbers, for example {key.upper()} "((0.5, 1.0),)" for all views.'
            )
