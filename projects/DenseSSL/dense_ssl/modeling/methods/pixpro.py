"""PixPro (Xie et al. 2021): cells that show the same place agree after propagation.

The worked example of docs/add_a_method.md.
"""

from functools import partial

import torch
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn
from torch.nn import functional as F

from ...losses import pixel_consistency
from ...losses.precision import full_precision
from ...utils.checks import require_one_of, require_positive
from ...utils.distributed import weigh_by_count
from ...utils.events import is_logged, log_feature_std, put_scalar
from ...utils.maps import rows_of_cells
from ..backbones import require_feature
from ..geometry.cells import cell_centres, squares_around
from ..geometry.correspondence import close_cells, corresponding_points, share_found
from ..heads import MLPHead, on_cells
from ..objective import DIRECTIONS, OBJECTIVE_REGISTRY, Objective
from ..pretrainer import Pretrainer

TRANSFORM_LAYERS = (0, 1, 2)
# Pictures mark the cells of a map of this many rows and columns.
_DRAWN_CELLS = (7, 7)


class PixelPropagation(nn.Module):
    """The pixel propagation module: each cell becomes a mean of the cells that look like it."""

    def __init__(self, transform, power):
        """
        Args:
            transform: g of Eq. 3, (N, D) -> (N, D). power: gamma of Eq. 4.
        """
        super().__init__()
        self.transform = transform
        self.power = power

    def forward(self, feature_map):
        """(N, D, h, w) -> (N, h * w, D)."""
        values = rows_of_cells(on_cells(self.transform, feature_map))
        return propagate(rows_of_cells(feature_map), values, self.power)


@full_precision
def propagate(cells, values, power):
    r"""Eq. 3: :math:`y_i = \sum_j s(x_i, x_j) \, g(x_j)` over all cells of the map.

    The similarity s is Eq. 4, :math:`\max(\cos(x_i, x_j), 0)^\gamma`.

    Args:
        cells: x, (N, P, D). values: g(x), (N, P, D), L2-normalised inside, as in the authors' code.
        power: gamma.

    Returns:
        y, (N, P, D).
    """
    cells = F.normalize(cells, dim=2)
    similarity = (cells @ cells.transpose(1, 2)).clamp(min=0) ** power  # (N, P, P)
    return similarity @ F.normalize(values, dim=2)


@OBJECTIVE_REGISTRY.register()
class PixProObjective(Objective):
    """The pixel-to-propagation consistency, as a mean over both directions: range [-1, 1].

    A cell of one view and a cell of the other are a positive pair if they lie close together in the
    image (Eq. 1). An image without such a pair has weight 0.
    """

    node, label = "PIXPRO", "pixpro"

    @configurable
    def __init__(self, *, in_feature, projector, propagation, threshold):
        """
        Args:
            in_feature: name of the feature map.
            projector: head, (N, C) -> (N, D).
            propagation: :class:`PixelPropagation`, of the online network alone.
            threshold: largest distance of a positive pair, in diagonals of a cell.
        """
        super().__init__()
        self.in_feature = in_feature
        self.projector = projector
        self.propagation = propagation
        self.threshold = threshold
        self.add_target("projector")

    @classmethod
    def add_config(cls, cfg):
        node = cfg.MODEL.PIXPRO = CN()
        # Feature map, hidden and output width of the projector.
        node.IN_FEATURE = "res5"
        node.HIDDEN_DIM = 4096
        node.OUT_DIM = 256
        # Cells of two views are positives up to this distance, in diagonals of a cell (Eq. 1).
        node.THRESHOLD = 0.7
        # Propagation: the power of the similarity (gamma, Eq. 4) and the linear layers of the
        # transformation (l): 0, 1 or 2.
        node.POWER = 2.0
        node.TRANSFORM_LAYERS = 1

    @classmethod
    def from_config(cls, cfg, shapes):
        node, norm = cfg.MODEL.PIXPRO, cfg.MODEL.SSL.HEAD_NORM
        require_positive(cfg, "MODEL.PIXPRO.THRESHOLD", "MODEL.PIXPRO.POWER")
        layers, width = node.TRANSFORM_LAYERS, node.OUT_DIM
        require_one_of("MODEL.PIXPRO.TRANSFORM_LAYERS", layers, TRANSFORM_LAYERS)
        channels = require_feature(shapes, node.IN_FEATURE, "MODEL.PIXPRO.IN_FEATURE").channels
        projector = MLPHead(channels, node.HIDDEN_DIM, width, norm, output_bias=True)
        transform = (
            nn.Identity(),
            nn.Linear(width, width),
            MLPHead(width, width, width, norm, output_bias=True),
        )[layers]
        return {
            "in_feature": node.IN_FEATURE,
            "projector": projector,
            "propagation": PixelPropagation(transform, node.POWER),
            "threshold": node.THRESHOLD,
        }

    def forward(self, views, passes):
        maps = {i: passes.online(i)[self.in_feature] for i in self.online_views}
        online = passes.through(partial(on_cells, self.projector), maps)  # (N, D, h, w)
        predictions = passes.through(self.propagation, online)  # (N, h * w, D)
        with torch.no_grad():
            maps = {i: passes.target(i)[self.in_feature] for i in self.target_views}
            target = passes.through(partial(on_cells, self.target_projector), maps)
        loss = 0
        for o, t in DIRECTIONS:
            positive = self._positives(views[o], views[t], online[o], target[t])
            term = pixel_consistency(predictions[o], rows_of_cells(target[t]), positive)
            usable = positive.flatten(1).any(dim=1)
            loss = loss + weigh_by_count(term, usable.sum().to(term)) / len(DIRECTIONS)
        self._log(views, online[1], target[0], positive, usable)
        return {"loss_pixpro": loss}

    def _positives(self, first, second, first_map, second_map):
        """Eq. 1 for the cells of two maps: (N, h * w, h' * w') bool."""
        shapes = first_map.shape[2:], second_map.shape[2:]
        return close_cells(first, second, *shapes, self.threshold)

    @torch.no_grad()
    def _log(self, views, online, target, positive, usable):
        """``online``: of the second view. ``target``: of the first."""
        self.log_overlap(usable)
        log_feature_std(f"{self.label}/feature_std", online.mean(dim=(2, 3)))
        log_feature_std(f"{self.label}/cell_std", rows_of_cells(online).flatten(0, 1))
        if not is_logged():
            return
        put_scalar(f"{self.label}/pairs_per_image", positive.flatten(1).sum(dim=1).float().mean())
        points, valid = corresponding_points(*views[:2], target.shape[2:], online.shape[2:])
        if valid.any():
            put_scalar(f"{self.label}/top1", share_found(target, online, points, valid))
            put_scalar(f"{self.label}/chance", 1 / online[0, 0].numel())

    def matches(self, views):
        """Squares around the cells of the first view and around the nearest positive of each."""
        first, second = views[:2]
        centres, others = cell_centres(first, _DRAWN_CELLS), cell_centres(second, _DRAWN_CELLS)
        nearest = torch.cdist(first.to_image(centres), second.to_image(others)).argmin(dim=2)
        positive = close_cells(first, second, _DRAWN_CELLS, _DRAWN_CELLS, self.threshold)
        shown = positive.gather(2, nearest[..., None])[..., 0]  # (N, P)
        partners = others.gather(1, nearest[..., None].expand(-1, -1, 2))
        return {
            0: squares_around(centres, shown, first.size),
            1: squares_around(partners, shown, second.size),
        }


@META_ARCH_REGISTRY.register()
class PixPro(Pretrainer):
    """Eq. 5: the sum over both directions, range [-2, 2]."""

    objective_names = ("PixProObjective",)
    objective_scales = (2.0,)
