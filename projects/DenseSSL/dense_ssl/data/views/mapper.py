"""The multi-view mapper: one dataset dict in, several views of its image out."""

from itertools import combinations

import numpy as np
import torch
from detectron2.config import configurable

from ...utils.checks import require_one_of
from ..image_io import read_image
from .crops import crop_affine, draw_crop, overlap_in_view
from .device_colors import pack
from .photometry import Photometry, draw_photometry
from .region_sources import build_region_source, regions_of_view
from .render import get_renderer
from .settings import view_settings


class MultiViewMapper:
    """Reads the image of a dataset dict once and makes its views.

    Only ``file_name`` of the dict is used; annotations are not read, except by a region source that
    needs them. The geometry of each view is kept as the four numbers of
    :class:`~dense_ssl.structures.Views`.
    """

    @configurable
    def __init__(
        self,
        *,
        views,
        backend,
        min_overlap=0.0,
        overlap_tries=10,
        image_format="RGB",
        region_source=None,
        region_resolution=64,
        color_on_device=False,
    ):
        """
        Args:
            views: list of :class:`~dense_ssl.data.views.settings.ViewSettings`.
            backend: "exact" or "fast".
            min_overlap: least overlap of every two crops, per side, in pixels of the view of lower
                zoom.
            overlap_tries: draws after which the last crops are taken.
            image_format: "RGB" or "BGR".
            region_source: function of (dataset dict, height, width) giving a label map of the
                image, see :mod:`~dense_ssl.data.views.region_sources`; None for none.
            region_resolution: R, cells of a view along each axis; each cell has one region.
            color_on_device: leave colours, blur and solarisation to the model.
        """
        self.views = views
        self.render = get_renderer(backend)
        self.min_overlap = min_overlap
        self.overlap_tries = max(overlap_tries, 1)
        self.image_format = image_format
        self.region_source = region_source
        self.region_resolution = region_resolution
        self.color_on_device = color_on_device

    @classmethod
    def from_config(cls, cfg):
        require_one_of("INPUT.FORMAT", cfg.INPUT.FORMAT, ("RGB", "BGR"))
        return {
            "views": view_settings(cfg.INPUT.VIEWS),
            "backend": cfg.INPUT.VIEWS.BACKEND,
            "min_overlap": cfg.INPUT.VIEWS.MIN_OVERLAP,
            "overlap_tries": cfg.INPUT.VIEWS.OVERLAP_TRIES,
            "image_format": cfg.INPUT.FORMAT,
            "region_source": build_region_source(cfg.INPUT.REGIONS),
            "region_resolution": cfg.INPUT.REGIONS.RESOLUTION,
            "color_on_device": cfg.INPUT.COLOR_ON_DEVICE,
        }

    def __call__(self, dataset_dict, seed=None):
        """
        Args:
            dataset_dict: in detectron2's format; only ``file_name`` is needed.
            seed: integer or sequence of integers; the views are a function of it and the image.

        Returns:
            dict with ``views``: a list of ``{"image": uint8 (3, H, W), "affine": float64 (4,)}``,
            ``seed``: int for everything else that is drawn for this image; ``file_name``,
            ``height`` and ``width`` of the image. With a region source each view also has
            ``regions``, uint8 (R, R); with ``color_on_device`` also ``photometry``, see
            :func:`~.device_colors.pack`.

        Raises:
            BrokenImageError: the image cannot be read.
        """
        rng = np.random.default_rng(seed)
        sample_seed = int(rng.integers(2**62))
        image = read_image(dataset_dict["file_name"])
        height, width = image.shape[:2]
        crops = self._draw_crops(rng, width, height)
        views = [self._make_view(rng, image, *x) for x in zip(self.views, crops)]
        if self.region_source is not None:
            label_map = self.region_source(dataset_dict, height, width)
            for view, settings in zip(views, self.views):
                view["regions"] = regions_of_view(
                    label_map, view["affine"], settings.size, self.region_resolution
                )
        return {
            "file_name": dataset_dict["file_name"],
            "height": height,
            "width": width,
            "seed": sample_seed,
            "views": views,
        }

    def _draw_crops(self, rng, width, height):
        """Draw a crop (left, top, width, height) per view, again until they overlap enough."""
        for _ in range(self.overlap_tries):
            crops = [
                draw_crop(rng, width, height, x.crop_scale, x.crop_ratio, x.crop_sampler)
                if x.crop == "random"
                else (0, 0, width, height)
                for x in self.views
            ]
            crops = [crops[0] if x.crop == "same" else y for x, y in zip(self.views, crops)]
            if self.min_overlap <= 0 or self._least_overlap(crops) > self.min_overlap:
                break
        return crops

    def _least_overlap(self, crops):
        pairs = combinations(zip(crops, (x.size for x in self.views)), 2)
        return min((overlap_in_view(a, b, s, t) for (a, s), (b, t) in pairs), default=float("inf"))

    def _make_view(self, rng, image, settings, crop):
        flip = bool(rng.random() < settings.flip_prob)
        photometry = draw_photometry(settings, rng)
        # drawn here in both cases, so that the views do not depend on who colours them
        applied = Photometry() if self.color_on_device else photometry
        pixels = self.render(image, crop, settings.size, settings.interpolation, flip, applied)
        if self.image_format == "BGR":
            pixels = np.ascontiguousarray(pixels[:, :, ::-1])
        view = {
            "image": torch.from_numpy(pixels).permute(2, 0, 1),  # (H, W, 3) -> (3, H, W), no copy
            "affine": torch.from_numpy(crop_affine(crop, settings.size, flip)),
        }
        if self.color_on_device:
            view["photometry"] = pack(photometry, settings.size)
        return view
