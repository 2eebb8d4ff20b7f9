"""MoCo v2 (Chen et al. 2020): a view finds its image's other view among the keys of a queue."""

import torch
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY

from ...utils.checks import require_positive
from ..backbones import require_feature
from ..heads import MLPHead, on_cells
from ..memory_bank import MemoryBank, resolve_queue_size
from ..objective import DIRECTIONS, OBJECTIVE_REGISTRY, Objective
from ..pretrainer import Pretrainer
from ..queue_contrast import QueueContrast


@OBJECTIVE_REGISTRY.register()
class MoCoObjective(Objective):
    """The image-level contrastive loss of MoCo (He et al. 2020, Eq. 1), with the head of v2.

    Asymmetric as published: the first view is the query, the second the key. Symmetric: each view
    is both, and the loss is the mean of the two directions.
    """

    node, label = "MOCO", "moco"

    @configurable
    def __init__(self, *, in_feature, projector, contrast, symmetric=False, pool_after_head=False):
        """
        Args:
            in_feature: name of the feature map that is pooled.
            projector: head, (N, C) -> (N, D).
            contrast: :class:`~dense_ssl.modeling.queue_contrast.QueueContrast`.
            symmetric: use each view as query and as key.
            pool_after_head: run the head on every cell of the map and average its output.
        """
        super().__init__()
        self.in_feature = in_feature
        self.pool_after_head = pool_after_head
        self.directions = DIRECTIONS if symmetric else DIRECTIONS[:1]
        self.online_views, self.target_views = zip(*self.directions)
        self.projector = projector
        self.add_target("projector")
        self.contrast = contrast

    @classmethod
    def add_config(cls, cfg):
        node = cfg.MODEL.MOCO = CN()
        # Feature map of the backbone that is pooled.
        node.IN_FEATURE = "res5"
        # Hidden width of the head (0: that of the map) and output width.
        node.HIDDEN_DIM = 0
        node.OUT_DIM = 128
        # Keys in the queue; 0 (auto): 65536, or half as many as an epoch gives if that is fewer.
        node.QUEUE_SIZE = 65536
        # Type that the queue is stored in: "float32", "bfloat16" or "float16".
        node.QUEUE_DTYPE = "float32"
        node.TEMPERATURE = 0.2
        # Use both views as query and as key (two more passes).
        node.SYMMETRIC = False
        # Run the head on every cell and average its output, instead of averaging first.
        node.POOL_AFTER_HEAD = False

    @classmethod
    def from_config(cls, cfg, shapes):
        node = cfg.MODEL.MOCO
        require_positive(cfg, "MODEL.MOCO.TEMPERATURE")
        channels = require_feature(shapes, node.IN_FEATURE, "MODEL.MOCO.IN_FEATURE").channels
        bank = MemoryBank(node.QUEUE_SIZE, node.OUT_DIM, node.QUEUE_DTYPE)
        return {
            "in_feature": node.IN_FEATURE,
            "projector": MLPHead(
                channels, node.HIDDEN_DIM or channels, node.OUT_DIM, output_bias=True
            ),
            "contrast": QueueContrast(bank, node.TEMPERATURE),
            "symmetric": node.SYMMETRIC,
            "pool_after_head": node.POOL_AFTER_HEAD,
        }

    @classmethod
    def queue_keys(cls, cfg):
        return 2 if cfg.MODEL.MOCO.SYMMETRIC else 1

    @classmethod
    def resolve(cls, cfg, num_images):
        resolve_queue_size(cfg, "MODEL.MOCO.QUEUE_SIZE", num_images, cls.queue_keys(cfg))

    def forward(self, views, passes):
        loss = 0
        for online, target in self.directions:
            query = self._embed(self.projector, passes.online(online))
            with torch.no_grad():
                key = self._embed(self.target_projector, passes.target(target))
            loss = loss + self.contrast(query, key, self.label) / len(self.directions)
            self.contrast.bank.push(key)
        return {"loss_moco": loss}

    def _embed(self, head, features):
        """Feature maps -> (N, D)."""
        feature_map = features[self.in_feature]
        if self.pool_after_head:
            return on_cells(head, feature_map).mean(dim=(2, 3))
        return head(feature_map.mean(dim=(2, 3)))


@META_ARCH_REGISTRY.register()
class MoCoV2(Pretrainer):
    """A view finds the other view of its image among the keys of earlier images."""

    objective_names = ("MoCoObjective",)
