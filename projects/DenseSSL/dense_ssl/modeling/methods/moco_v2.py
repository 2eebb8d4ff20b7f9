"""MoCo v2 (Chen et al. 2020): a view finds its image's other view among the keys of a queue."""

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY

from ..backbones import feature_shape
from ..heads import MLPHead, on_cells
from ..memory_bank import MemoryBank, resolve_queue_size
from ..objective import OBJECTIVE_REGISTRY, Objective, require_positive
from ..pretrainer import Pretrainer
from ..queue_contrast import QueueContrast


@OBJECTIVE_REGISTRY.register()
class MoCoObjective(Objective):
    """The image-level contrastive loss of MoCo, with the head of v2.

    Asymmetric as published: the first view is the query, the second the key. Symmetric: both are
    both, and the loss is the mean of the two directions.
    """

    node, label = "MOCO", "moco"

    @configurable
    def __init__(
        self,
        *,
        in_feature,
        in_channels,
        hidden_dim,
        out_dim,
        queue_size,
        queue_dtype,
        temperature,
        symmetric=False,
        pool_after_head=False,
    ):
        """
        Args:
            in_feature, in_channels: name of the feature map that is pooled, and its channels.
            hidden_dim, out_dim: widths of the head; a hidden width of 0 is that of the map.
            queue_size, queue_dtype: of :class:`~dense_ssl.modeling.memory_bank.MemoryBank`.
            temperature: of InfoNCE.
            symmetric: let each view be query and key.
            pool_after_head: run the head on every cell of the map and average what it gives.
        """
        super().__init__()
        self.in_feature = in_feature
        self.pool_after_head = pool_after_head
        self.directions = ((0, 1), (1, 0)) if symmetric else ((0, 1),)
        self.online_views, self.target_views = zip(*self.directions)
        hidden_dim = hidden_dim or in_channels
        self.projector = MLPHead(in_channels, hidden_dim, out_dim, output_bias=True)
        self.add_target("projector")
        self.contrast = QueueContrast(MemoryBank(queue_size, out_dim, queue_dtype), temperature)

    @classmethod
    def from_config(cls, cfg, shapes):
        node = cfg.MODEL.MOCO
        require_positive(cfg, "MODEL.MOCO.TEMPERATURE")
        shape = feature_shape(shapes, node.IN_FEATURE, "MODEL.MOCO.IN_FEATURE")
        return {
            "in_feature": node.IN_FEATURE,
            "in_channels": shape.channels,
            "hidden_dim": node.HIDDEN_DIM,
            "out_dim": node.OUT_DIM,
            "queue_size": node.QUEUE_SIZE,
            "queue_dtype": node.QUEUE_DTYPE,
            "temperature": node.TEMPERATURE,
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
            self.contrast.hold(key)
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
