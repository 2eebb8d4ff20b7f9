"""The boxes, points or regions that a pre-training compares (Roh et al. 2021, Fig. A3)."""

from dataclasses import dataclass

import numpy as np
import torch

from ..data.views.batch import stack_samples
from ..data.views.mapper import MultiViewMapper
from ..modeling.building import build_model
from ..modeling.geometry.boxes import pairwise_iou
from ..modeling.meta_architecture import meta_architecture
from ..modeling.passes import ObjectivePasses, Passes
from ..visualization.canvas import as_figure
from .registry import ANALYSES, ANY_COUNT, Analysis, option


@ANALYSES.register()
class Boxes(Analysis):
    """What a pre-training matches between two views of an image: boxes, patches, cells or regions.

    They are drawn by its config; no weights are needed.
    """

    name, source = "boxes", "SCRL Fig. A3"
    takes_weights = False

    @dataclass
    class Options:
        """Options of the command line."""

        images: int = option(64, "images that are drawn from the data")
        pictures: int = option(4, "images in the figure", limits=ANY_COUNT)

    def run(self, job):
        cfg, samples = job.config(), job.samples(self.options.images, self.needs)
        cfg.defrost()
        meta_architecture(cfg).resolve(cfg, samples.available)
        torch.manual_seed(job.seed)
        model = build_model(cfg)
        batch = _views_of(cfg, samples)
        views = model.gather_views(batch)[: model.num_views]
        numbers, figures = {}, {}
        for name, objective in model.objectives.items():
            numbers[name] = summarise(objective.matches(views), views)
            if self.draws:
                picture = self._picture(model, objective, batch)
                figures["" if len(model.objectives) == 1 else name] = as_figure(picture)
        return numbers, figures

    def _picture(self, model, objective, batch):
        """Return the objective's own picture of the first images, uint8 (3, height, width)."""
        first = _first(batch, self.options.pictures)
        views = model.gather_views(first)[: model.num_views]
        images = [x["image"].float() for x in first["views"]][: model.num_views]
        if model.input_format == "BGR":
            images = [x.flip(1) for x in images]
        planned = objective.online_views, objective.target_views
        encoders = model.backbone, model.target_backbone
        with torch.no_grad():
            passes = ObjectivePasses(Passes(encoders, views, *planned), objective)
            return objective.pictures(views, images, passes, 1)["views"]


def _views_of(cfg, samples):
    """Return the views of all images, as a batch of pre-training."""
    mapper = MultiViewMapper(cfg)
    found = [mapper(x.item, (samples.seed, i)) for i, x in enumerate(samples)]
    return stack_samples(found)


def _first(batch, count):
    """Return the first samples of a batch."""
    views = [{key: x[:count] for key, x in view.items()} for view in batch["views"]]
    return {**{key: x[:count] for key, x in batch.items()}, "views": views}


def summarise(matches, views):
    """Return what boxes of two views are like.

    Args:
        matches: {view: (N, K, 4) in view pixels}, result of an objective's ``matches``; boxes
            without area do not count.
        views: list of :class:`~dense_ssl.structures.Views`.

    Returns:
        dict: ``usable``: percentage of the images that have boxes; of those, ``boxes``: mean number
        of an image; ``side``: median of the square root of their area, in pixels of the first view;
        ``iou``: mean IoU in the image between the boxes of the first two views (1: the same place;
        what lies outside a view is cut off). {} for an objective that matches no boxes.
    """
    if len(matches) < 2:
        return {}
    (a, first), (b, second) = sorted(matches.items())[:2]
    there = _areas(first) > 0
    there &= _areas(second) > 0
    usable = there.any(dim=1)
    if not usable.any():
        return {"usable": 0.0}
    places = views[a].boxes_to_image(first.double()), views[b].boxes_to_image(second.double())
    flat = [x[there][:, None] for x in places]
    return {
        "usable": 100 * float(usable.float().mean()),
        "boxes": float(there.sum(dim=1)[usable].float().mean()),
        "side": float(np.median(_areas(first)[there].sqrt().cpu())),
        "iou": float(pairwise_iou(*flat).mean()),
    }


def _areas(boxes):
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)
