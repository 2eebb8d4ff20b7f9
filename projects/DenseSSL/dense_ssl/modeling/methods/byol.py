"""BYOL (Grill et al. 2020): two views of an image predict each other's pooled features."""

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY

from ...losses import cosine_distance
from ...utils.events import log_feature_std
from ..backbones import feature_shape
from ..heads import MLPHead
from ..objective import OBJECTIVE_REGISTRY, Objective
from ..pretrainer import Pretrainer


@OBJECTIVE_REGISTRY.register()
class BYOLObjective(Objective):
    """The image-level loss of BYOL, summed over both directions: range [0, 8]."""

    node, label = "BYOL", "byol"

    @configurable
    def __init__(self, *, in_feature, in_channels, hidden_dim, out_dim, norm):
        """
        Args:
            in_feature: name of the feature map that is pooled.
            in_channels: its channels.
            hidden_dim, out_dim: widths of projector and predictor.
            norm: norm of the heads.
        """
        super().__init__()
        self.in_feature = in_feature
        self.projector = MLPHead(in_channels, hidden_dim, out_dim, norm)
        self.predictor = MLPHead(out_dim, hidden_dim, out_dim, norm)
        self.add_target("projector")

    @classmethod
    def from_config(cls, cfg, shapes):
        node = cfg.MODEL.BYOL
        shape = feature_shape(shapes, node.IN_FEATURE, "MODEL.BYOL.IN_FEATURE")
        return {
            "in_feature": node.IN_FEATURE,
            "in_channels": shape.channels,
            "hidden_dim": node.HIDDEN_DIM,
            "out_dim": node.OUT_DIM,
            "norm": cfg.MODEL.SSL.HEAD_NORM,
        }

    def forward(self, views, passes):
        loss = 0
        for online, target in ((0, 1), (1, 0)):
            projection = self.projector(self._pool(passes.online(online)))
            prediction = self.predictor(projection)
            with torch.no_grad():
                wanted = self.target_projector(self._pool(passes.target(target)))
            loss = loss + cosine_distance(prediction, wanted)
        log_feature_std(f"{self.label}/feature_std", projection)
        return {"loss_byol": loss}

    def _pool(self, features):
        return features[self.in_feature].mean(dim=(2, 3))  # (N, C, H, W) -> (N, C)


@META_ARCH_REGISTRY.register()
class BYOL(Pretrainer):
    """Two views of an image predict each other's pooled features."""

    objective_names = ("BYOLObjective",)
