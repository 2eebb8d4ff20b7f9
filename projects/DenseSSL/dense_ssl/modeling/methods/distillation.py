"""Distillation: the cells of the backbone learn those of a frozen foundation model.

No paper of this project's list: cosine distance of features, as in many works on feature
distillation. docs/distillation.md says what was tested.
"""

import math
from functools import partial

import torch
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from ...data.views.settings import entry_of_view, require_even_cells
from ...losses import cosine_distance
from ...utils.events import is_logged, log_feature_std, put_scalar
from ...utils.maps import rows_of_cells
from ..backbones import require_feature
from ..geometry.correspondence import corresponding_points, share_found
from ..heads import MLPHead, on_cells
from ..objective import OBJECTIVE_REGISTRY, Objective
from ..pretrainer import Pretrainer
from ..teacher import resized
from ..teacher_network import build_teacher


@OBJECTIVE_REGISTRY.register()
class DistillationObjective(Objective):
    """The cosine distance between the cells of the backbone, through a head, and the teacher's.

    Both see the same view, so that a cell of the backbone learns what the teacher says of the same
    part of the view. The loss is a mean over views, feature maps, images and cells: range [0, 4].
    It uses no momentum encoder.
    """

    node, label = "DISTILLATION", "distillation"
    target_views = ()

    @configurable
    def __init__(self, *, teacher, heads, image_head=None, image_weight=0.0, views=(0,)):
        """
        Args:
            teacher: :class:`~dense_ssl.modeling.teacher.Teacher`.
            heads: {name of a feature map: head (N, C) -> (N, D)}, D channels of the teacher.
            image_head: head (N, C) -> (N, D') on the mean of the cells of the last of these maps.
            image_weight: weight of the loss on the image vector; 0: ``image_head`` is not used.
            views: indices of the views that the teacher sees.
        """
        super().__init__()
        self.teacher = teacher
        self.heads = nn.ModuleDict(heads)
        self.image_head = image_head
        self.image_weight = image_weight
        self.online_views = tuple(views)

    @classmethod
    def add_config(cls, cfg):
        node = cfg.MODEL.DISTILLATION = CN()
        # Feature maps that learn, each through a head of its own: a linear layer, or with a hidden
        # width (not 0) MODEL.SSL.HEAD_NORM and a ReLU between two of them.
        node.IN_FEATURES = ("res5",)
        node.HIDDEN_DIM = 0
        # The views that the teacher sees; each costs a pass of the teacher.
        node.VIEWS = (0,)
        # Weight of a second loss: the pooled cells of the last map learn the teacher's vector of
        # the image (class token, or pooled cells, as timm pools them). 0: none.
        node.IMAGE_WEIGHT = 0.0
        teacher = node.TEACHER = CN()
        # A network of timm with the tag of its weights, which says how it normalises pixels.
        teacher.NAME = "vit_small_patch14_dinov2.lvd142m"
        # The file of its weights (torch or safetensors), a path that iopath knows; it must be
        # given. "random": a randomly initialised teacher, good for tests alone.
        teacher.WEIGHTS = ""
        # More arguments for timm, each "name=value".
        teacher.ARGUMENTS = ()
        # The teacher sees the views enlarged by this factor, rounded to a multiple of its patch
        # size: 2.0 gives it four times as many cells.
        teacher.SCALE = 1.0

    @classmethod
    def from_config(cls, cfg, shapes):
        node, norm = cfg.MODEL.DISTILLATION, cfg.MODEL.SSL.HEAD_NORM
        channels = {
            name: require_feature(shapes, name, "MODEL.DISTILLATION.IN_FEATURES").channels
            for name in node.IN_FEATURES
        }
        _check(cfg, shapes)
        sides = {entry_of_view(cfg.INPUT.VIEWS.SIZE, view) for view in node.VIEWS}
        teacher, (cells_dim, image_dim) = build_teacher(cfg, sorted(sides))
        head = partial(_head, hidden_dim=node.HIDDEN_DIM, norm=norm)
        is_used = node.IMAGE_WEIGHT > 0
        return {
            "teacher": teacher,
            "heads": {name: head(count, cells_dim) for name, count in channels.items()},
            "image_head": head(channels[node.IN_FEATURES[-1]], image_dim) if is_used else None,
            "image_weight": node.IMAGE_WEIGHT,
            "views": node.VIEWS,
        }

    def feature_names(self):
        return tuple(self.heads)

    def forward(self, views, passes):
        goals = {i: self.teacher(views[i].images) for i in self.online_views}
        maps = {i: passes.online(i) for i in self.online_views}
        terms = []
        for name, head in self.heads.items():
            own = {i: x[name] for i, x in maps.items()}
            predictions = passes.through(partial(on_cells, head), own)  # (N, D, h, w)
            terms += [cell_distance(x, goals[i].cells) for i, x in predictions.items()]
            self._log(name, views, goals, predictions)
        losses = {"loss_distillation": sum(terms) / len(terms)}
        if self.image_weight:
            losses["loss_distillation_image"] = self.image_weight * self._image(goals, maps, passes)
        return losses

    def _image(self, goals, maps, passes):
        """The mean of 2 - 2 cos between the pooled cells of the last map and the image vector."""
        name = self.feature_names()[-1]
        pooled = {i: x[name].mean(dim=(2, 3)) for i, x in maps.items()}
        predictions = passes.through(self.image_head, pooled)  # (N, D')
        terms = [cosine_distance(x, goals[i].image) for i, x in predictions.items()]
        return sum(terms) / len(terms)

    @torch.no_grad()
    def _log(self, name, views, goals, predictions):
        """Log of the first view how often a cell is most like the teacher's at its place."""
        if not is_logged():
            return
        label = self.label if len(self.heads) == 1 else f"{self.label}/{name}"
        first = self.online_views[0]
        found = predictions[first]
        log_feature_std(f"{label}/feature_std", rows_of_cells(found).flatten(0, 1))
        goal = resized(goals[first].cells, found.shape[2:])
        places = corresponding_points(views[first], views[first], found.shape[2:], goal.shape[2:])
        put_scalar(f"{label}/top1", share_found(found, goal, *places))
        put_scalar(f"{label}/chance", 1 / goal[0, 0].numel())


def cell_distance(prediction, goal):
    """The mean of 2 - 2 cos between the cells of two maps of the same view.

    The target is resized to the cells of the prediction, so that both describe the same part of
    the view whatever their strides are.

    Args:
        prediction: (N, D, h, w). goal: (N, D, h', w'), without gradient.

    Returns:
        Scalar in [0, 4].
    """
    goal = resized(goal, prediction.shape[2:])
    rows = (rows_of_cells(x).flatten(0, 1) for x in (prediction, goal))
    return cosine_distance(*rows)


def _head(in_dim, out_dim, hidden_dim, norm):
    if not hidden_dim:
        return nn.Linear(in_dim, out_dim)
    return MLPHead(in_dim, hidden_dim, out_dim, norm, output_bias=True)


def _check(cfg, shapes):
    """Raise where keys of MODEL.DISTILLATION make no sense or do not fit the views."""
    node = cfg.MODEL.DISTILLATION
    for key in ("IN_FEATURES", "VIEWS"):
        if not node[key] or len(set(node[key])) < len(node[key]):
            raise ValueError(
                f"MODEL.DISTILLATION.{key} is {tuple(node[key])}: name at least one, and none "
                "twice."
            )
    if node.IMAGE_WEIGHT < 0:
        raise ValueError(
            f"MODEL.DISTILLATION.IMAGE_WEIGHT is {node.IMAGE_WEIGHT}; it must not be negative."
        )
    stride = math.lcm(*(shapes[x].stride for x in node.IN_FEATURES))
    for view in node.VIEWS:
        require_even_cells(cfg, view, stride, "MODEL.DISTILLATION.IN_FEATURES")


@META_ARCH_REGISTRY.register()
class Distillation(Pretrainer):
    """Distillation alone. With other objectives: META_ARCHITECTURE "MultiObjective"."""

    objective_names = ("DistillationObjective",)
