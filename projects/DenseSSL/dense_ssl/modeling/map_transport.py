"""Optimal transport between the cells of two views (Liu et al. 2021, sections 3.2 and 3.3)."""

import torch
from torch.nn import functional as F

from ..losses import emd_distance, marginal_weights, sinkhorn
from ..losses.emd_distance import LARGEST_COST
from ..losses.precision import at_least_float32, full_precision
from ..utils.checks import require_one_of
from ..utils.maps import rows_of_cells

MARGINALS = ("vector", "mean", "uniform")
PYRAMIDS = ("union", "levels", "none")
# Average pooling of the spatial pyramid: (kernel, stride), 7 x 7 cells to 5 x 5 and 3 x 3.
_POOLS = ((3, 1), (3, 2))


class MapTransport:
    """Distance (Eq. 13) and marginals (Eq. 14, Eq. 15) of the outputs of the heads.

    The outputs of a view are {"map": (N, D, h, w)} and, for the marginals "vector", "vector":
    (N, D).
    """

    def __init__(
        self,
        *,
        marginals,
        normalize_nodes,
        pyramid,
        regularization,
        iterations,
        differentiate_plan,
    ):
        """
        Args:
            marginals: weights of the nodes by the other view's "vector" (Eq. 15), by the "mean" of
                its nodes (Eq. 14), or "uniform".
            normalize_nodes: L2-normalise nodes before they are weighted.
            pyramid: pooled nodes in one transport with the others ("union"), in one of their own
                ("levels"), or "none".
            regularization, iterations, differentiate_plan: of
                :func:`~dense_ssl.losses.emd_distance`.
        """
        require_one_of("MODEL.SELF_EMD.MARGINALS", marginals, MARGINALS)
        require_one_of("MODEL.SELF_EMD.PYRAMID", pyramid, PYRAMIDS)
        self.marginals = marginals
        self.normalize_nodes = normalize_nodes
        self.pyramid = pyramid
        self.sinkhorn_settings = regularization, iterations
        self.differentiate_plan = differentiate_plan

    def distance(self, online, target):
        """Eq. 13 for the outputs of two views, a scalar in [0, 4]."""
        x_levels, y_levels = self.levels(online["map"]), self.levels(target["map"])
        if self.pyramid == "union":
            x_levels, y_levels = [torch.cat(x_levels, dim=1)], [torch.cat(y_levels, dim=1)]
        distances = [
            emd_distance(
                x, y, *self.masses(x, y, online, target), *self.sinkhorn_settings,
                differentiate_plan=self.differentiate_plan,
            )
            for x, y in zip(x_levels, y_levels)  # a small view has fewer levels than a large one
        ]  # fmt: skip
        return sum(distances) / len(distances)

    def levels(self, feature_map):
        """(N, D, h, w) -> nodes of the map and of its pooled forms, list of (N, n, D)."""
        feature_map = at_least_float32(feature_map)
        maps = [feature_map]
        # the pools are made for 7 cells a side; the 4 of a small view are not pooled further
        if self.pyramid != "none" and min(feature_map.shape[2:]) >= 5:
            maps += [F.avg_pool2d(feature_map, *pool) for pool in _POOLS]
        return [rows_of_cells(x) for x in maps]

    def masses(self, x, y, online, target):
        """Marginals of the nodes (N, n, D) and (N, m, D) of two views."""
        if self.marginals == "uniform":
            return [z.new_full(z.shape[:2], 1 / z.shape[1]) for z in (x, y)]
        if self.marginals == "mean":
            vectors = y.mean(dim=1), x.mean(dim=1)
        else:
            vectors = target["vector"], online["vector"]
        if self.normalize_nodes:
            x, y = F.normalize(x, dim=2), F.normalize(y, dim=2)
        return marginal_weights(x, vectors[0]), marginal_weights(y, vectors[1])

    @torch.no_grad()
    def plan(self, online, target):
        """The transport (N, h * w, h' * w') between the cells of two views, without the pyramid."""
        x, y = (at_least_float32(rows_of_cells(z["map"])) for z in (online, target))
        masses = self.masses(x, y, online, target)
        return sinkhorn(_cosine_cost(x, y), *masses, *self.sinkhorn_settings, LARGEST_COST)


@full_precision
def _cosine_cost(x, y):
    """Eq. 11: (N, n, D), (N, m, D) -> (N, n, m)."""
    return 1 - F.normalize(x, dim=2) @ F.normalize(y, dim=2).transpose(1, 2)
