"""Whether the parts of an object find themselves in another view (Ding et al. 2021, Eq. 9)."""

from dataclasses import dataclass

import numpy as np
import torch
from detectron2.layers import ROIAlign
from torch.nn import functional as F

from ..losses.precision import full_precision
from ..modeling.backbones import feature_shapes
from ..modeling.geometry.boxes import pool_boxes
from ..visualization.affinity import draw_affinity_matrices
from .registry import (
    ANALYSES,
    ANY_COUNT,
    POSITIVE,
    SHARE,
    BackboneAnalysis,
    Outcome,
    choose_level,
    option,
)
from .sensitivity import choose_box
from .views import COLOURS, random_pair


@ANALYSES.register()
class Affinity(BackboneAnalysis):
    """Affinity between the cells of an object in two views, ideally an identity matrix.

    Both views hold the whole ground-truth box, which is pooled to S x S cells in each.
    """

    name, source = "affinity", "DUPR Eq. 9, Fig. 9"
    needs = "boxes"

    @dataclass
    class Options:
        """Options of the command line."""

        images: int = option(200, "images that are drawn from the data")
        level: str = option("", "feature map; default: that of stride 32, conv5_x")
        side: int = option(448, "side of the views in pixels")
        cells: int = option(14, "S, cells of the box along each side")
        temperature: float = option(0.001, "of the softmax, tau", limits=POSITIVE)
        crop_scale: float = option(
            0.2, "smallest share of the image's area in a view", limits=SHARE
        )
        flip_prob: float = option(0.0, "chance that a view is mirrored; its cells are put back")
        colours: str = option("moco", "changes of colour", COLOURS)
        min_side: int = option(
            64, "least side of an object, in pixels of the resized image", limits=ANY_COUNT
        )
        pictures: int = option(2, "objects in the figure", limits=ANY_COUNT)

    def measure(self, maps, samples):
        options = self.options
        level = choose_level(maps, options.level, stride=32)
        pooler = ROIAlign(options.cells, 1 / feature_shapes(maps.backbone)[level].stride, 0, True)
        found, examples = [], []
        for sample in samples:
            box = choose_box(sample, options.side, options.min_side)
            if box is None:
                continue
            pair = random_pair(sample, options, box)
            features = maps([x.pixels for x in pair], self.size)[level]
            cells = [box_cells(pooler, *x, box) for x in zip(features, pair)]
            matrix = affinity(*cells, options.temperature).cpu()
            found.append(diagonal_facts(matrix))
            if len(examples) < options.pictures:
                examples.append((pair, box, matrix.numpy()))
        if not found:
            raise ValueError(f"no image has an object of at least {options.min_side} pixels: lower "
                             "--min-side.")  # fmt: skip
        trace, share = np.mean(found, axis=0)
        numbers = {"trace": float(trace), "found": 100 * float(share),
                   "chance": 100 / options.cells**2, "objects": len(found)}  # fmt: skip
        return Outcome({"level": level, **numbers}, examples)

    def draw(self, outcomes):
        return {"": draw_affinity_matrices({name: x.drawn for name, x in outcomes.items()})}


def box_cells(pooler, features, view, box):
    """Return the cells (S * S, C) of a box in a view, in the order that they have in the image.

    Args:
        pooler: detectron2's ROIAlign with output size S.
        features: (C, h, w) of the view.
        view: :class:`~.views.View`.
        box: (4,) in image pixels.
    """
    box = torch.from_numpy(np.asarray(box, np.float64))[None, None]
    box = view.views.boxes_to_view(box).float().to(features.device)
    cells = pool_boxes(pooler, features[None], box)
    cells = cells.view(pooler.output_size, pooler.output_size, -1)
    return (cells.flip(1) if view.flip else cells).flatten(0, 1)


@full_precision
def affinity(first, second, temperature):
    """Return the affinity matrix of Eq. 9: a softmax over the cells of the first view.

    Args:
        first, second: (n, C), (m, C), normalised inside.
        temperature: tau.

    Returns:
        (n, m), each column sums to 1.
    """
    similarity = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T
    return (similarity / temperature).softmax(dim=0)


def diagonal_facts(matrix):
    """Return the mean of the diagonal, and the share of columns whose largest entry is on it."""
    found = matrix.argmax(dim=0) == torch.arange(matrix.shape[1])
    return float(matrix.diagonal().mean()), float(found.float().mean())
