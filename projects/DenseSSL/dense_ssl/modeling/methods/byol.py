"""BYOL (Grill et al. 2020): two views of an image predict each other's pooled features."""

import torch
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY

from ...losses import cosine_distance
from ...utils.events import log_feature_std
from ..backbones import require_feature
from ..heads import MLPHead
from ..objective import DIRECTIONS, OBJECTIVE_REGISTRY, Objective
from ..pretrainer import Pretrainer


@OBJECTIVE_REGISTRY.register()
class BYOLObjective(Objective):
    """The image-level loss of BYOL, Eq. 2, as a mean over both directions: range [0, 4]."""

    node, label = "BYOL", "byol"

    @configurable
    def __init__(self, *, in_feature, projector, predictor):
        """
        Args:
            in_feature: name of the feature map that is pooled.
            projector, predictor: heads, (N, C) -> (N, D) and (N, D) -> (N, D).
        """
        super().__init__()
        self.in_feature = in_feature
        self.projector = projector
        self.predictor = predictor
        self.add_target("projector")

    @classmethod
    def add_config(cls, cfg):
        node = cfg.MODEL.BYOL = CN()
        # Feature map of the backbone that is pooled.
        node.IN_FEATURE = "res5"
        # Hidden and output width of projector and predictor.
        node.HIDDEN_DIM = 4096
        node.OUT_DIM = 256

    @classmethod
    def from_config(cls, cfg, shapes):
        node, norm = cfg.MODEL.BYOL, cfg.MODEL.SSL.HEAD_NORM
        channels = require_feature(shapes, node.IN_FEATURE, "MODEL.BYOL.IN_FEATURE").channels
        return {
            "in_feature": node.IN_FEATURE,
            "projector": MLPHead(channels, node.HIDDEN_DIM, node.OUT_DIM, norm),
            "predictor": MLPHead(node.OUT_DIM, node.HIDDEN_DIM, node.OUT_DIM, norm),
        }

    def forward(self, views, passes):
        online = {i: self._pool(passes.online(i)) for i in self.online_views}
        projections = passes.through(self.projector, online)
        predictions = passes.through(self.predictor, projections)
        with torch.no_grad():
            target = {i: self._pool(passes.target(i)) for i in self.target_views}
            goals = passes.through(self.target_projector, target)
        terms = [cosine_distance(predictions[o], goals[t]) for o, t in DIRECTIONS]
        log_feature_std(f"{self.label}/feature_std", projections[1])
        return {"loss_byol": sum(terms) / len(terms)}

    def _pool(self, features):
        return features[self.in_feature].mean(dim=(2, 3))  # (N, C, H, W) -> (N, C)


@META_ARCH_REGISTRY.register()
class BYOL(Pretrainer):
    """The sum over both directions, as published: range [0, 8]."""

    objective_names = ("BYOLObjective",)
    objective_scales = (2.0,)
