"""Self-EMD (Liu et al. 2021): maps of two views are compared by optimal transport."""

from functools import partial

import torch
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.evaluation import inference_context
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from ...losses import cosine_distance
from ...losses.precision import at_least_float32
from ...utils.checks import require_positive
from ...utils.events import is_logged, log_feature_std, put_scalar
from ...utils.maps import rows_of_cells
from ...visualization.transport import draw_transport
from ..backbones import require_feature
from ..geometry.correspondence import corresponding_points, share_transported
from ..heads import MLPHead, on_cells
from ..map_transport import MapTransport
from ..objective import OBJECTIVE_REGISTRY, Objective
from ..pretrainer import Pretrainer


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
    def __init__(self, *, in_feature, projector, predictor, num_views, vector_weight, transport):
        """
        Args:
            in_feature: name of the feature map.
            projector, predictor: ModuleDicts of heads for the "map" and for the "vector"; both may
                be one head. Without "vector" there is no vector branch.
            num_views: 2, or more with smaller views.
            vector_weight: weight of BYOL's loss on the vectors.
            transport: :class:`~dense_ssl.modeling.map_transport.MapTransport`.
        """
        super().__init__()
        self.in_feature = in_feature
        self.online_views = tuple(range(num_views))
        self.pairs = [(o, t) for o in self.online_views for t in self.target_views if o != t]
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
        # One projector and one predictor for both branches: Eq. 15 multiplies a cell of one branch
        # with a vector of the other, and nothing else relates the two. Cells and vectors run
        # through the same weights as two batches, so batch norm normalises each with its own
        # statistics. False: heads of its own for each branch. The paper keeps "the original MLP
        # head as a parallel branch" and does not say which; docs/results.md has a comparison.
        node.SHARED_HEAD = True
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
        # Let the gradient flow through the transport plan and the weights of the nodes too.
        node.DIFFERENTIATE_PLAN = False
        # Weight of BYOL's loss on the vectors; 0: none.
        node.VECTOR_LOSS_WEIGHT = 1.0

    @classmethod
    def from_config(cls, cfg, shapes):
        node, norm = cfg.MODEL.SELF_EMD, cfg.MODEL.SSL.HEAD_NORM
        _check(cfg)
        channels = require_feature(shapes, node.IN_FEATURE, "MODEL.SELF_EMD.IN_FEATURE").channels
        return {
            "in_feature": node.IN_FEATURE,
            "projector": _heads(node, channels, norm),
            "predictor": _heads(node, node.OUT_DIM, norm),
            "num_views": node.NUM_VIEWS,
            "vector_weight": node.VECTOR_LOSS_WEIGHT,
            "transport": MapTransport(
                marginals=node.MARGINALS,
                normalize_nodes=node.NORMALIZE_NODES,
                pyramid=node.PYRAMID,
                regularization=node.REGULARIZATION,
                iterations=node.ITERATIONS,
                differentiate_plan=node.DIFFERENTIATE_PLAN,
            ),
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
        maps = {i: passes.online(i)[self.in_feature] for i in self.online_views}
        online = self._predict(maps, passes)
        with torch.no_grad():
            maps = {i: passes.target(i)[self.in_feature] for i in self.target_views}
            target = self._project(self.target_projector, maps, passes)
        losses = {"loss_emd": self._mean_distance(self.transport.distance, online, target)}
        if self.vector_weight > 0:
            distance = self._mean_distance(_vector_distance, online, target)
            losses["loss_vector"] = self.vector_weight * distance
        if is_logged():
            self._log(views, online[0], target[1])
        return losses

    def _mean_distance(self, function, online, target):
        """Mean over the pairs; those of equal shapes are compared at once."""
        groups = {}
        for o, t in self.pairs:
            shapes = online[o]["map"].shape, target[t]["map"].shape
            groups.setdefault(shapes, []).append((online[o], target[t]))
        total = 0
        for pairs in groups.values():
            first, second = (_joined(views) for views in zip(*pairs))
            total = total + len(pairs) * function(first, second)
        return total / len(self.pairs)

    def _predict(self, maps, passes):
        """{view: (N, C, h, w)} -> predictions {view: {"map": (N, D, h, w), "vector": (N, D)}}."""
        return _run(self.predictor, self._project(self.projector, maps, passes), passes)

    def _project(self, projector, maps, passes):
        """{view: (N, C, h, w)} -> projections, in the form of :meth:`_predict`."""
        inputs = {i: {"map": x, "vector": x.mean(dim=(2, 3))} for i, x in maps.items()}
        return _run(projector, inputs, passes)

    @torch.no_grad()
    def _log(self, views, online, target):
        """``online``, ``target``: of the first and the second view."""
        if "vector" in online:
            log_feature_std(f"{self.label}/feature_std", online["vector"])
        log_feature_std(f"{self.label}/node_std", rows_of_cells(online["map"]).flatten(0, 1))
        shapes = [z["map"].shape[2:] for z in (online, target)]
        points, valid = corresponding_points(*views[:2], *shapes)
        if valid.any():
            plan = self.transport.plan(online, target)
            arrived, chance = share_transported(plan, points, valid, shapes[1])
            put_scalar(f"{self.label}/arrived", arrived)
            put_scalar(f"{self.label}/chance", chance)

    @torch.no_grad()
    def plan(self, online, target):
        """Return the transport between the cells of two views, without the pyramid.

        Args:
            online, target: {name: (N, C, h, w)}, feature maps of the two encoders.

        Returns:
            (N, h * w, h' * w').
        """
        online, target = (at_least_float32(x[self.in_feature]) for x in (online, target))
        with inference_context(self):  # another pass must not move the heads' batch statistics
            online = self._predict({0: online}, _OneByOne)[0]
            target = self._project(self.target_projector, {0: target}, _OneByOne)[0]
        return self.transport.plan(online, target)

    def pictures(self, views, images, passes, scale):
        online, target = passes.online(0), passes.target(1)
        shapes = [x[self.in_feature].shape[2:] for x in (online, target)]
        plan = self.plan(online, target)[: len(images[0])].cpu()
        return {"transport": draw_transport(images[:2], plan, *shapes, scale)}


def _joined(outputs):
    """Join the outputs of several views, {branch: (N, ...)} each, to one batch."""
    return {branch: torch.cat([x[branch] for x in outputs]) for branch in outputs[0]}


def _vector_distance(online, target):
    return cosine_distance(online["vector"], target["vector"])


class _OneByOne:
    """Passes of views that are never joined: without batch statistics it is all the same."""

    @staticmethod
    def through(head, inputs):
        return {view: head(x) for view, x in inputs.items()}


def _run(heads, inputs, passes):
    """Run the heads of the branches that there are: {view: {branch: input}} -> the same."""
    outputs = {}
    for branch, head in heads.items():
        run = partial(on_cells, head) if branch == "map" else head
        outputs[branch] = passes.through(run, {i: x[branch] for i, x in inputs.items()})
    return {i: {branch: x[i] for branch, x in outputs.items()} for i in inputs}


def _heads(node, in_dim, norm):
    """The projector (of ``in_dim`` channels) or predictor of each branch that is needed."""
    branches = ["map"]
    if node.VECTOR_LOSS_WEIGHT > 0 or node.MARGINALS == "vector":
        branches.append("vector")
    count = 1 if node.SHARED_HEAD else len(branches)
    heads = [MLPHead(in_dim, node.HIDDEN_DIM, node.OUT_DIM, norm) for _ in range(count)]
    return nn.ModuleDict(zip(branches, heads * len(branches)))


def _check(cfg):
    """Raise where keys of MODEL.SELF_EMD do not fit together."""
    node = cfg.MODEL.SELF_EMD
    require_positive(cfg, "MODEL.SELF_EMD.ITERATIONS", "MODEL.SELF_EMD.REGULARIZATION")
    if node.NUM_VIEWS < 2:
        raise ValueError("MODEL.SELF_EMD.NUM_VIEWS must be at least 2.")
    trained = node.VECTOR_LOSS_WEIGHT > 0 or node.SHARED_HEAD or node.DIFFERENTIATE_PLAN
    if node.MARGINALS == "vector" and not trained:
        raise ValueError(
            "MODEL.SELF_EMD.MARGINALS 'vector' weights nodes by the vector branch, which nothing "
            "trains at VECTOR_LOSS_WEIGHT 0: raise it, set SHARED_HEAD or DIFFERENTIATE_PLAN, or "
            "set MARGINALS to 'mean' or 'uniform'."
        )


@META_ARCH_REGISTRY.register()
class SelfEMD(Pretrainer):
    """The maps of two views are compared by optimal transport."""

    objective_names = ("SelfEMDObjective",)
