"""How each view is made: the keys of INPUT.VIEWS, one entry per view or one for all."""

from dataclasses import dataclass
from typing import Tuple

from .photometry import PhotometrySettings

_CHOICES = {
    "CROP": ("random", "whole"),
    "BLUR": ("gaussian", "resize"),
    "INTERPOLATION": ("bicubic", "bilinear"),
}


@dataclass(frozen=True)
class ViewSettings:
    """How one view is made; the keys of INPUT.VIEWS for one view."""

    size: int
    crop: str
    crop_scale: Tuple[float, float]
    crop_ratio: Tuple[float, float]
    interpolation: str
    flip_prob: float
    photometry: PhotometrySettings


def entry_of_view(values, view):
    """What a key of INPUT.VIEWS says of a view: an entry of its own, or the one for all."""
    return values[view] if len(values) > max(view, 1) else values[0]


def view_settings(node):
    """The settings of every view.

    Args:
        node: the config node INPUT.VIEWS, whose keys hold one entry per view or one for all.

    Returns:
        list of :class:`ViewSettings`.
    """

    def pick(key, view):
        values = node[key]
        if len(values) not in (1, node.NUM):
            raise ValueError(
                f"INPUT.VIEWS.{key} has {len(values)} entries for INPUT.VIEWS.NUM {node.NUM} "
                "views: give one per view, or a single one for all."
            )
        return entry_of_view(values, view)

    settings = []
    for view in range(node.NUM):

        def of_view(key, view=view):
            return pick(key, view)

        _check_choices(of_view)
        _check_numbers(of_view)
        settings.append(_one_view(of_view))
    return settings


def _check_choices(pick):
    """Raise, naming the key, where a word of one view is unknown."""
    for key, allowed in _CHOICES.items():
        if pick(key) not in allowed:
            raise ValueError(f"INPUT.VIEWS.{key} holds {pick(key)!r}; it must be one of {allowed}.")


def _check_numbers(pick):
    """Raise, naming the key, where a number of one view is out of its range."""
    for key in ("FLIP_PROB", "JITTER_PROB", "GRAY_PROB", "BLUR_PROB", "SOLARIZE_PROB"):
        if not 0 <= pick(key) <= 1:
            raise ValueError(f"INPUT.VIEWS.{key} holds {pick(key)}; it must lie in [0, 1].")
    if pick("SIZE") < 1:
        raise ValueError(f"INPUT.VIEWS.SIZE holds {pick('SIZE')}; it must be at least 1 pixel.")
    for key, least in (("CROP_SCALE", 1e-9), ("CROP_RATIO", 1e-9), ("BLUR_SIGMA", 0)):
        pair = pick(key)
        is_pair = isinstance(pair, (list, tuple)) and len(pair) == 2
        if not is_pair or not least <= pair[0] <= pair[1]:
            raise ValueError(
                f"INPUT.VIEWS.{key} holds {pair!r}; each entry must be a pair (low, high) of "
                f'positive numbers, for example {key} "((0.5, 1.0),)" for all views.'
            )


def _one_view(pick):
    photometry = PhotometrySettings(
        jitter_prob=pick("JITTER_PROB"),
        brightness=pick("BRIGHTNESS"),
        contrast=pick("CONTRAST"),
        saturation=pick("SATURATION"),
        hue=pick("HUE"),
        gray_prob=pick("GRAY_PROB"),
        blur_prob=pick("BLUR_PROB"),
        blur=pick("BLUR"),
        blur_sigma=tuple(pick("BLUR_SIGMA")),
        solarize_prob=pick("SOLARIZE_PROB"),
        solarize_threshold=pick("SOLARIZE_THRESHOLD"),
        size=pick("SIZE"),
    )
    return ViewSettings(
        size=pick("SIZE"),
        crop=pick("CROP"),
        crop_scale=tuple(pick("CROP_SCALE")),
        crop_ratio=tuple(pick("CROP_RATIO")),
        interpolation=pick("INTERPOLATION"),
        flip_prob=pick("FLIP_PROB"),
        photometry=photometry,
    )
