"""The multi-view mapper: one dataset dict in, several views of its image out."""

from dataclasses import dataclass
from itertools import combinations
from typing import Tuple

import numpy as np
import torch
from detectron2.config import configurable

from .geometry import crop_affine, draw_crop, overlap_in_view
from .image_io import read_image
from .photometry import PhotometrySettings, draw_photometry
from .render import get_renderer


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
        return values[view] if len(values) > 1 else values[0]

    for view in range(node.NUM):
        for key, allowed in (("CROP", ("random", "whole")), ("BLUR", ("gaussian", "resize")),
                             ("INTERPOLATION", ("bicubic", "bilinear"))):  # fmt: skip
            if pick(key, view) not in allowed:
                raise ValueError(
                    f"INPUT.VIEWS.{key} holds {pick(key, view)!r}; it must be one of {allowed}."
                )
        _check_numbers(lambda key, view=view: pick(key, view))
    return [_one_view(lambda key, view=view: pick(key, view)) for view in range(node.NUM)]


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


class MultiViewMapper:
    """Reads the image of a dataset dict once and makes its views.

    Only ``file_name`` (and, for the log, ``image_id``) of the dict are used; annotations are never
    looked at. The geometry of each view is kept as the four numbers of
    :class:`~dense_ssl.structures.Views`.
    """

    @configurable
    def __init__(self, *, views, backend, min_overlap=0.0, overlap_tries=10, image_format="RGB"):
        """
        Args:
            views: list of :class:`ViewSettings`.
            backend: "exact" or "fast".
            min_overlap: least overlap of every two random crops, per side, in pixels of the view
                of lower zoom.
            overlap_tries: draws after which the last crops are taken.
            image_format: "RGB" or "BGR".
        """
        self.views = views
        self.render = get_renderer(backend)
        self.min_overlap = min_overlap
        self.overlap_tries = max(overlap_tries, 1)
        self.image_format = image_format

    @classmethod
    def from_config(cls, cfg):
        if cfg.INPUT.FORMAT not in ("RGB", "BGR"):
            raise ValueError(f"INPUT.FORMAT is {cfg.INPUT.FORMAT!r}; it must be 'RGB' or 'BGR'.")
        return {
            "views": view_settings(cfg.INPUT.VIEWS),
            "backend": cfg.INPUT.VIEWS.BACKEND,
            "min_overlap": cfg.INPUT.VIEWS.MIN_OVERLAP,
            "overlap_tries": cfg.INPUT.VIEWS.OVERLAP_TRIES,
            "image_format": cfg.INPUT.FORMAT,
        }

    def __call__(self, dataset_dict, seed=None):
        """
        Args:
            dataset_dict: in detectron2's format; only ``file_name`` is needed.
            seed: integer or sequence of integers; the views are a function of it and the image.

        Returns:
            dict with ``views``: a list of ``{"image": uint8 (3, H, W), "affine": float64 (4,)}``,
            ``seed``: int for whatever else is drawn for this image, ``file_name``, ``height`` and
            ``width`` of the image.

        Raises:
            BrokenImageError: the image cannot be read.
        """
        rng = np.random.default_rng(seed)
        sample_seed = int(rng.integers(2**62))
        image = read_image(dataset_dict["file_name"])
        height, width = image.shape[:2]
        crops = self._draw_crops(rng, width, height)
        return {
            "file_name": dataset_dict["file_name"],
            "height": height,
            "width": width,
            "seed": sample_seed,
            "views": [self._make_view(rng, image, *x) for x in zip(self.views, crops)],
        }

    def _draw_crops(self, rng, width, height):
        for _ in range(self.overlap_tries):
            crops = [
                draw_crop(rng, width, height, view.crop_scale, view.crop_ratio)
                if view.crop == "random"
                else (0, 0, width, height)
                for view in self.views
            ]
            if self.min_overlap <= 0 or self._least_overlap(crops) > self.min_overlap:
                break
        return crops

    def _least_overlap(self, crops):
        sizes = [x.size for x in self.views]
        return min(
            (
                overlap_in_view(crops[a], crops[b], sizes[a], sizes[b])
                for a, b in combinations(range(len(crops)), 2)
            ),
            default=float("inf"),
        )

    def _make_view(self, rng, image, settings, crop):
        flip = bool(rng.random() < settings.flip_prob)
        photometry = draw_photometry(settings.photometry, rng)
        pixels = self.render(image, crop, settings.size, settings.interpolation, flip, photometry)
        if self.image_format == "BGR":
            pixels = np.ascontiguousarray(pixels[:, :, ::-1])
        return {
            "image": torch.from_numpy(pixels).permute(2, 0, 1),  # (H, W, 3) -> (3, H, W), no copy
            "affine": torch.from_numpy(crop_affine(crop, settings.size, flip)),
        }
