"""SCRL's boxes with negatives: a box finds its partner among the boxes of other images."""

import torch
from detectron2.config import configurable
from torch import nn

from ...utils.checks import require_positive
from ..memory_bank import MemoryBank, resolve_queue_size
from ..objective import DIRECTIONS, OBJECTIVE_REGISTRY
from ..queue_contrast import QueueContrast
from .scrl import SCRLObjective

# Boxes of an image that enter the queue, as many as patches in DUPR.
_KEYS_PER_IMAGE = 4


@OBJECTIVE_REGISTRY.register()
class BoxContrastObjective(SCRLObjective):
    """DUPR's patch loss (InfoNCE) on SCRL's boxes; the mean of both directions.

    Negatives are in a queue; for those of the batch see
    :class:`~dense_ssl.modeling.methods.box_batch_contrast.BoxBatchContrastObjective`. Boxes have
    the keys of MODEL.SCRL, queue and temperature those of MODEL.MOCO. There is no predictor: the
    negatives prevent collapse.
    """

    label = "box_contrast"

    @configurable
    def __init__(self, *, contrast, **boxes):
        """
        Args:
            contrast: :class:`~dense_ssl.modeling.queue_contrast.QueueContrast`.
            boxes: of :class:`~dense_ssl.modeling.methods.scrl.SCRLObjective`.
        """
        super().__init__(**boxes)
        self.contrast = contrast
        self.keys_per_image = min(_KEYS_PER_IMAGE, self.sampling["num_boxes"])

    @classmethod
    def from_config(cls, cfg, shapes):
        node, width = cfg.MODEL.MOCO, cfg.MODEL.SCRL.OUT_DIM
        require_positive(cfg, "MODEL.MOCO.TEMPERATURE")
        bank = MemoryBank(node.QUEUE_SIZE, width, node.QUEUE_DTYPE)
        return {
            **super().from_config(cfg, shapes),
            "predictor": nn.Identity(),
            "contrast": QueueContrast(bank, node.TEMPERATURE),
        }

    @classmethod
    def queue_keys(cls, cfg):
        # both directions put keys in
        return 2 * min(_KEYS_PER_IMAGE, cfg.MODEL.SCRL.NUM_BOXES)

    @classmethod
    def resolve(cls, cfg, num_images):
        resolve_queue_size(cfg, "MODEL.MOCO.QUEUE_SIZE", num_images, cls.queue_keys(cfg))

    def forward(self, views, passes):
        boxes, usable = self.sample(views)
        count = self.sampling["num_boxes"]
        weights = usable.repeat_interleave(count).float()  # (N,) -> (N * K,)
        valid = usable.repeat_interleave(self.keys_per_image)
        online = {i: self._pool(passes.online(i), boxes[i]) for i in self.online_views}
        queries = passes.through(self.projector, online)
        with torch.no_grad():
            target = {i: self._pool(passes.target(i), boxes[i]) for i in self.target_views}
            keys = passes.through(self.target_projector, target)
        loss = 0
        for o, t in DIRECTIONS:
            loss = loss + self.contrast(queries[o], keys[t], self.label, weights) / len(DIRECTIONS)
            kept = keys[t].view(len(usable), count, -1)[:, : self.keys_per_image]
            self.contrast.bank.push(kept.flatten(0, 1), valid)
        return {"loss_box_contrast": loss}
