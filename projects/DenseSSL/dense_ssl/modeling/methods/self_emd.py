"""Self-EMD (Liu et al. 2021): maps of two views are compared by optimal transport."""

import torch
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.evaluation import inference_context
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn
from torch.nn import functional as F

from ...losses import cosine_distance, emd_distance, marginal_weights, sinkhorn
from ...losses.precision import at_least_float32, full_precision
from ...utils.checks import require_one_of, require_positive
from ...utils.events import is_logged, log_feature_std, put_scalar
from ...utils.maps import rows_of_cells
from ...visualization.transport import draw_transport
from ..backbones import require_feature
from ..geometry.correspondence import corresponding_points, share_transported
from ..heads import MLPHead, on_cells
from ..objective import OBJECTIVE_REGISTRY, Objective
from ..pretrainer import Pretrainer

MARGINALS = ("vector", "mean", "uniform")
PYRAMIDS = ("union", "levels", "none")
# Average pooling of the spatial pyramid: (kernel, stride), 7 x 7 cells to 5 x 5 and 3 x 3.
_POOLS = ((3, 1), (3, 2))


@OBJECTIVE_REGISTRY.register()
class SelfEMDObjective(Objective):
    """Eq. 13 on the maps, with BYOL's loss (Eq. 2) on the vectors that give the marginals (Eq. 15).

    Correspondence comes from transport, so views need no overlap and no image is skipped. The
    losses are means over the ordered pairs (online view, target view) of different views; the
    first two views are online and target, further (smaller) ones online alone.
    """

    node, label = "SELF_EMD", "self_emd"
    target_views = (0, 1)

    @configurable
    def __init__(
        self,
        *,
        in_feature,
        projector,
        predictor,
        num_views,
        marginals,
        normalize_nodes,
        pyramid,
        vector_weight,
        transport,
    ):
        """
        Args:
            in_feature: name of the feature map.
            projector, predictor: ModuleDicts of heads for the "map" and for the "vector"; without
                "vector" there is no vector branch.
            num_views: 2, or more with smaller views.
            marginals: weights of the nodes by the other view's "vector" (Eq. 15), by the "mean" of
                its nodes (Eq. 14), or "uniform".
            normalize_nodes: L2-normalise nodes before they are weighted.
            pyramid: pooled nodes in one transport with the others ("union"), in one of their own
                ("levels"), or "none".
            vector_weight: weight of BYOL's loss on the vectors.
            transport: keyword arguments of :func:`~dense_ssl.losses.emd_distance`.
        """
        super().__init__()
        self.in_feature = in_feature
        self.online_views = tuple(range(num_views))
        self.pairs = [(o, t) for o in self.online_views for t in self.target_views if o != t]
        self.marginals = marginals
        self.normalize_nodes = normalize_nodes
        self.pyramid = pyramid
        self.vector_weight = vector_weight
        self.transport = transport
        self.projector = projector
        self.predictor = predictor
        self.add_target("projector")

    @classmethod
    def add_config(cls, cfg):
        node = cfg.MODEL.SELF_EMD = CN()
        # Feature map, widths of projectors and predictors.
        node.IN_FEATURE = "res5"
        node.HIDDEN_DIM = 4096
        node.OUT_DIM = 256
        # 3: with the smaller third view (of INPUT.VIEWS.SIZE); 2: without.
        node.NUM_VIEWS = 3
        # Weights of the nodes: by the other view's "vector" (Eq. 15), by the "mean" of its nodes
        # (Eq. 14), or "uniform"; with nodes as they are, or L2-normalised.
        node.MARGINALS = "vector"
        node.NORMALIZE_NODES = False
        # Pooled nodes of the spatial pyramid: in one transport ("union"), one per level ("levels"),
        # or "none".
        node.PYRAMID = "union"
        # Entropic regularisation (gamma) and iterations (T) of Sinkhorn.
        node.REGULARIZATION = 0.05
        node.ITERATIONS = 50
        # Let the gradient flow through the transport plan too.
        node.DIFFERENTIATE_PLAN = False
        # Weight of BYOL's loss on the vectors; 0: no vector branch.
        node.VECTOR_LOSS_WEIGHT = 1.0

    @classmethod
    def from_config(cls, cfg, shapes):
        node, norm = cfg.MODEL.SELF_EMD, cfg.MODEL.SSL.HEAD_NORM
        _check(cfg)
        channels = require_feature(shapes, node.IN_FEATURE, "MODEL.SELF_EMD.IN_FEATURE").channels
        branches = ("map", "vector") if node.VECTOR_LOSS_WEIGHT > 0 else ("map",)
        hidden, out = node.HIDDEN_DIM, node.OUT_DIM
        return {
            "in_feature": node.IN_FEATURE,
            "projector": nn.ModuleDict({x: MLPHead(channels, hidden, out, norm) for x in branches}),
            "predictor": nn.ModuleDict({x: MLPHead(out, hidden, out, norm) for x in branches}),
            "num_views": node.NUM_VIEWS,
            "marginals": node.MARGINALS,
            "normalize_nodes": node.NORMALIZE_NODES,
            "pyramid": node.PYRAMID,
            "vector_weight": node.VECTOR_LOSS_WEIGHT,
            "transport": {
                "regularization": node.REGULARIZATION,
                "iterations": node.ITERATIONS,
                "differentiate_plan": node.DIFFERENTIATE_PLAN,
            },
        }

    def join(self, objectives):
        for entry, other in objectives.items():
            whole = getattr(other, "whole_view", None)
            if whole in self.online_views:
                count = len(self.online_views)
                raise ValueError(
                    f"View {whole} is the whole image for {entry} and a crop for SelfEMDObjective: "
                    f"give the whole image a view of its own, with INPUT.VIEWS.NUM {count + 1} and "
                    f"MODEL.LC_LOSS.WHOLE_VIEW {count}."
                )

    def forward(self, views, passes):
        online = {i: self._predict(passes.online(i)[self.in_feature]) for i in self.online_views}
        with torch.no_grad():
            target = {
                i: self._project(self.target_projector, passes.target(i)[self.in_feature])
                for i in self.target_views
            }
        terms = [self._emd(online[o], target[t]) for o, t in self.pairs]
        losses = {"loss_emd": sum(terms) / len(terms)}
        if "vector" in self.projector:
            terms = [cosine_distance(online[o]["vector"], target[t]["vector"])
                     for o, t in self.pairs]  # fmt: skip
            losses["loss_vector"] = self.vector_weight * sum(terms) / len(terms)
        if is_logged():
            self._log(views, online[0], target[1])
        return losses

    def _predict(self, feature_map):
        """(N, C, h, w) -> predictions {"map": (N, D, h, w), "vector": (N, D)}."""
        projected = self._project(self.projector, feature_map)
        result = {"map": on_cells(self.predictor["map"], projected["map"])}
        if "vector" in self.predictor:
            result["vector"] = self.predictor["vector"](projected["vector"])
        return result

    def _project(self, projector, feature_map):
        """(N, C, h, w) -> projections, in the form of :meth:`_predict`."""
        result = {"map": on_cells(projector["map"], feature_map)}
        if "vector" in projector:
            result["vector"] = projector["vector"](feature_map.mean(dim=(2, 3)))
        return result

    def _emd(self, online, target):
        """Eq. 13 for one pair of views."""
        x_levels, y_levels = self._levels(online["map"]), self._levels(target["map"])
        if self.pyramid == "union":
            x_levels, y_levels = [torch.cat(x_levels, dim=1)], [torch.cat(y_levels, dim=1)]
        distances = [
            emd_distance(x, y, *self._masses(x, y, online, target), **self.transport)
            for x, y in zip(x_levels, y_levels)  # a small view has fewer levels than a large one
        ]
        return sum(distances) / len(distances)

    def _levels(self, feature_map):
        """(N, D, h, w) -> nodes of the map and of its pooled forms, list of (N, n, D)."""
        feature_map = at_least_float32(feature_map)
        maps = [feature_map]
        # the pools are made for 7 cells a side; the 4 of a small view are not pooled further
        if self.pyramid != "none" and min(feature_map.shape[2:]) >= 5:
            maps += [F.avg_pool2d(feature_map, *pool) for pool in _POOLS]
        return [rows_of_cells(x) for x in maps]

    def _masses(self, x, y, online, target):
        """Marginals of two sets of nodes (N, n, D) and (N, m, D)."""
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
    def _plan(self, online, target):
        """The transport (N, h * w, h' * w') between the cells of two views, without the pyramid."""
        x, y = (at_least_float32(rows_of_cells(z["map"])) for z in (online, target))
        settings = self.transport["regularization"], self.transport["iterations"]
        return sinkhorn(_cosine_cost(x, y), *self._masses(x, y, online, target), *settings)

    @torch.no_grad()
    def _log(self, views, online, target):
        """``online``, ``target``: of the first and the second view."""
        if "vector" in online:
            log_feature_std(f"{self.label}/feature_std", online["vector"])
        log_feature_std(f"{self.label}/node_std", rows_of_cells(online["map"]).flatten(0, 1))
        shapes = [z["map"].shape[2:] for z in (online, target)]
        points, valid = corresponding_points(*views[:2], *shapes)
        if valid.any():
            plan = self._plan(online, target)
            arrived, chance = share_transported(plan, points, valid, shapes[1])
            put_scalar(f"{self.label}/arrived", arrived)
            put_scalar(f"{self.label}/chance", chance)

    def pictures(self, views, images, passes, scale):
        features = [
            at_least_float32(x[self.in_feature]) for x in (passes.online(0), passes.target(1))
        ]
        with inference_context(self):  # a second pass must not move the heads' batch statistics
            online = self._predict(features[0])
            target = self._project(self.target_projector, features[1])
        shapes = [z["map"].shape[2:] for z in (online, target)]
        plan = self._plan(online, target)[: len(images[0])].cpu()
        return {"transport": draw_transport(images[:2], plan, *shapes, scale)}


@full_precision
def _cosine_cost(x, y):
    """Eq. 11: (N, n, D), (N, m, D) -> (N, n, m)."""
    return 1 - F.normalize(x, dim=2) @ F.normalize(y, dim=2).transpose(1, 2)


def _check(cfg):
    """Raise where keys of MODEL.SELF_EMD are unknown or do not fit together."""
    node = cfg.MODEL.SELF_EMD
    require_one_of("MODEL.SELF_EMD.MARGINALS", node.MARGINALS, MARGINALS)
    require_one_of("MODEL.SELF_EMD.PYRAMID", node.PYRAMID, PYRAMIDS)
    require_positive(cfg, "MODEL.SELF_EMD.ITERATIONS", "MODEL.SELF_EMD.REGULARIZATION")
    if node.NUM_VIEWS < 2:
        raise ValueError("MODEL.SELF_EMD.NUM_VIEWS must be at least 2.")
    if node.MARGINALS == "vector" and node.VECTOR_LOSS_WEIGHT <= 0:
        raise ValueError(
            "MODEL.SELF_EMD.MARGINALS 'vector' weights nodes by the vector branch, which nothing "
            "trains at VECTOR_LOSS_WEIGHT 0: raise it, or set MARGINALS to 'mean' or 'uniform'."
        )


@META_ARCH_REGISTRY.register()
class SelfEMD(Pretrainer):
    """The maps of two views are compared by optimal transport."""

    objective_names = ("SelfEMDObjective",)
