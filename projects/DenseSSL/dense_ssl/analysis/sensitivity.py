"""How fast the features of a box change as it moves off an object (Ding et al. 2021, Eq. 8)."""

from dataclasses import dataclass

import numpy as np
import torch
from detectron2.layers import ROIAlign
from torch.nn import functional as F

from ..modeling.backbones import feature_shapes
from ..modeling.geometry.boxes import pairwise_iou, pool_boxes
from ..visualization.sensitivity import draw_sensitivity
from .registry import ANALYSES, ANY_COUNT, BackboneAnalysis, Outcome, choose_level, option

_CANDIDATES = 4000  # boxes that those of the desired IoUs are taken from


@ANALYSES.register()
class Sensitivity(BackboneAnalysis):
    """Similarity between an object and boxes near it, against their IoU.

    For each image one ground-truth box is drawn, and boxes whose IoUs with it cover 0 to 1. All are
    pooled to S x S cells.
    """

    name, source = "sensitivity", "DUPR Eq. 8, Fig. 5"
    needs = "boxes"

    @dataclass
    class Options:
        """Options of the command line."""

        images: int = option(1000, "images that are drawn from the data")
        level: str = option("", "feature map; default: that of stride 16, conv4_x")
        side: int = option(448, "images are resized to squares of this side")
        rois: int = option(20, "boxes of each image beside its object")
        cells: int = option(14, "S, cells of a box along each side")
        bins: int = option(10, "bins of the IoU in the curve")
        min_side: int = option(
            32, "least side of an object, in pixels of the resized image", limits=ANY_COUNT
        )

    def measure(self, maps, samples):
        options = self.options
        level = choose_level(maps, options.level, stride=16)
        stride = feature_shapes(maps.backbone)[level].stride
        pooler = ROIAlign(options.cells, 1 / stride, 0, True)
        ious, similarities, example = [], [], None
        for sample in samples:
            box = choose_box(sample, options.side, options.min_side)
            if box is None:
                continue
            size = sample.image.shape[1::-1]
            rois, iou = draw_rois(box, size, options.rois, sample.rng)
            features = maps(sample.image, self.size)[level]
            boxes = resized(np.concatenate([box[None], rois]), size, options.side)
            cells = pool_boxes(pooler, features, boxes[None].to(features.device))
            cells = cells.view(1 + len(rois), options.cells**2, -1)
            found = roi_similarity(cells[0], cells[1:]).cpu().numpy()
            ious.append(iou)
            similarities.append(found)
            example = example or (sample.image, box, rois, iou, found)
        if not ious:
            raise ValueError(f"no image has an object of at least {options.min_side} pixels: lower "
                             "--min-side.")  # fmt: skip
        numbers = summarise(np.concatenate(ious), np.concatenate(similarities), options.bins)
        return Outcome({"level": level, "objects": len(ious), **numbers}, example)

    def draw(self, outcomes):
        numbers = {name: x.numbers for name, x in outcomes.items()}
        return {"": draw_sensitivity(numbers, {name: x.drawn for name, x in outcomes.items()})}


def choose_box(sample, side, min_side):
    """Return one ground-truth box (4,) of an image, drawn; None if all are too small.

    Args:
        sample: :class:`~.samples.Sample`.
        side: of the square that the image is resized to.
        min_side: in pixels of that square.
    """
    height, width = sample.image.shape[:2]
    boxes = sample.boxes.clip(0, [width, height, width, height])
    sides = (boxes[:, 2:] - boxes[:, :2]) * [side / width, side / height]
    large = boxes[(sides >= min_side).all(axis=1)]
    return large[sample.rng.integers(len(large))] if len(large) else None


def resized(boxes, size, side):
    """Return boxes (K, 4) of an image of ``size`` (width, height) in pixels of the square."""
    scale = np.array([side / size[0], side / size[1]] * 2)
    return torch.as_tensor(boxes * scale, dtype=torch.float32)


def draw_rois(box, size, count, rng):
    """Draw boxes in the image whose IoUs with ``box`` are spread evenly over 0 to 1.

    Args:
        box: (4,), (x1, y1, x2, y2).
        size: (width, height) of the image.
        count: of boxes; number k is for an IoU between k / count and (k + 1) / count.
        rng: numpy Generator.

    Returns:
        (count, 4) boxes, (count,) their IoUs. An IoU that no drawn box has gets the closest one:
        no box is disjoint from one that fills the image.
    """
    sides = box[2:] - box[:2]
    # small changes as often as large ones, so that every IoU has candidates
    spread = rng.random((_CANDIDATES, 1)) ** 2
    factors = np.exp(2 * spread * rng.uniform(-1, 1, (_CANDIDATES, 2)))
    shifts = 1.5 * spread * rng.uniform(-1, 1, (_CANDIDATES, 2))
    centres = (box[:2] + box[2:]) / 2 + shifts * sides
    half = factors * sides / 2
    rois = np.concatenate([centres - half, centres + half], axis=1)
    rois = rois.clip(0, [*size, *size])
    rois = rois[((rois[:, 2:] - rois[:, :2]) >= 0.1 * sides).all(axis=1)]
    ious = iou_with(box, rois)
    targets = (np.arange(count) + rng.random(count)) / count
    chosen = np.abs(ious[:, None] - targets).argmin(axis=0)
    return rois[chosen], ious[chosen]


def iou_with(box, rois):
    """Return the IoUs (K,) of a box (4,) with boxes (K, 4)."""
    return pairwise_iou(torch.from_numpy(box)[None, None], torch.from_numpy(rois)[None])[
        0, 0
    ].numpy()


def roi_similarity(reference, others):
    """Return the mean over cells of the cosine at the same cell, Eq. 8.

    Args:
        reference: (S * S, C), cells of the ground-truth box.
        others: (K, S * S, C), those of other boxes.

    Returns:
        (K,).
    """
    return (F.normalize(reference, dim=1) * F.normalize(others, dim=2)).sum(dim=2).mean(dim=1)


def summarise(ious, similarities, bins):
    """Return the curve over the IoU and what the paper reads from it.

    Args:
        ious, similarities: (M,).
        bins: of equal width from 0 to 1.

    Returns:
        dict: ``iou`` (centres of the bins), ``similarity``, ``std`` and ``count`` of each bin
        (None where it is empty); ``slope`` of a line through all points; mean similarity
        ``above_0.5`` and ``below_0.3``, and their ``contrast``, the difference.
    """
    number = np.minimum((ious * bins).astype(int), bins - 1)
    groups = [similarities[number == i] for i in range(bins)]
    above, below = similarities[ious > 0.5], similarities[ious < 0.3]
    above, below = (float(x.mean()) if len(x) else None for x in (above, below))
    return {
        "iou": [(i + 0.5) / bins for i in range(bins)],
        "similarity": [float(x.mean()) if len(x) else None for x in groups],
        "std": [float(x.std()) if len(x) else None for x in groups],
        "count": [len(x) for x in groups],
        "slope": float(np.polyfit(ious, similarities, 1)[0]),
        "above_0.5": above,
        "below_0.3": below,
        "contrast": None if above is None or below is None else above - below,
    }
