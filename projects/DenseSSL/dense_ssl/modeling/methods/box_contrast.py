"""SCRL's boxes with negatives: a box finds itself in the other view among boxes of other images."""

import torch
from detectron2.config import configurable
from torch import nn

from ..memory_bank import MemoryBank, resolve_queue_size
from ..objective import OBJECTIVE_REGISTRY, require_positive
from ..queue_contrast import QueueContrast
from .scrl import SCRLObjective

# Boxes of an image that enter the queue, as many as patches in DUPR.
_KEYS_PER_IMAGE = 4


@OBJECTIVE_REGISTRY.register()
class BoxContrastObjective(SCRLObjective):
    """DUPR's patch loss (Eq. 5) on SCRL's boxes; the mean of both directions.

    The appendix of SCRL reports +0.47 AP from negatives without saying how; here they wait in a
    queue. Boxes have the keys of MODEL.SCRL, queue and temperature those of MODEL.MOCO. There is no
    predictor: the negatives keep the features apart.
    """

    label = "box_contrast"

    @configurable
    def __init__(self, *, queue_size, queue_dtype, temperature, **boxes):
        """
        Args:
            queue_size, queue_dtype: of :class:`~dense_ssl.modeling.memory_bank.MemoryBank`.
            temperature: of InfoNCE.
            boxes: of :class:`~dense_ssl.modeling.methods.scrl.SCRLObjective`.
        """
        super().__init__(**boxes)
        self.predictor = nn.Identity()
        bank = MemoryBank(queue_size, boxes["out_dim"], queue_dtype)
        self.contrast = QueueContrast(bank, temperature)
        self.keys_per_image = min(_KEYS_PER_IMAGE, self.sampling["num_boxes"])

    @classmethod
    def from_config(cls, cfg, shapes):
        node = cfg.MODEL.MOCO
        require_positive(cfg, "MODEL.MOCO.TEMPERATURE")
        return {
            **super().from_config(cfg, shapes),
            "queue_size": node.QUEUE_SIZE,
            "queue_dtype": node.QUEUE_DTYPE,
            "temperature": node.TEMPERATURE,
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
        loss = 0
        for online, target in ((0, 1), (1, 0)):
            query = self.projector(self._pool(passes.online(online), boxes[online]))
            with torch.no_grad():
                key = self.target_projector(self._pool(passes.target(target), boxes[target]))
            loss = loss + self.contrast(query, key, self.label, weights) / 2
            kept = key.view(len(usable), count, -1)[:, : self.keys_per_image]
            self.contrast.hold(kept.flatten(0, 1), valid)
        return {"loss_box_contrast": loss}
