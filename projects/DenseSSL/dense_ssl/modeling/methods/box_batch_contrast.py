"""SCRL's boxes with negatives from the batch, in the framework of SimCLR (SCRL, appendix I)."""

import torch
from detectron2.config import configurable
from torch import nn

from ...losses import nt_xent
from ...utils.checks import require_one_of, require_positive
from ...utils.distributed import (
    gather_rows,
    gather_rows_with_gradient,
    own_rows,
    weigh_by_count,
)
from ..objective import OBJECTIVE_REGISTRY
from .scrl import SCRLObjective

NEGATIVES = ("other_images", "all")


@OBJECTIVE_REGISTRY.register()
class BoxBatchContrastObjective(SCRLObjective):
    """NT-Xent on SCRL's boxes: each box of each view finds itself in the other view.

    As in SimCLR, both views pass through the online network, there is neither a target nor a
    predictor, and gradients reach positives and negatives. Negatives are boxes of both views, of
    all processes. Appendix I of SCRL reports +0.47 AP from "negative pairs based on the SimCLR
    framework" with "a sophisticated composition of the negative pairs" that it does not describe.
    """

    label = "box_batch_contrast"
    target_views = ()

    @configurable
    def __init__(self, *, negatives, temperature, **boxes):
        """
        Args:
            negatives: "other_images": boxes of other images, since those of one image overlap;
                "all": every other box, as in SimCLR.
            temperature: of NT-Xent.
            boxes: of :class:`~dense_ssl.modeling.methods.scrl.SCRLObjective`.
        """
        super().__init__(**boxes)
        self.negatives = negatives
        self.temperature = temperature

    @classmethod
    def from_config(cls, cfg, shapes):
        node = cfg.MODEL.SCRL
        require_one_of("MODEL.SCRL.NEGATIVES", node.NEGATIVES, NEGATIVES)
        require_positive(cfg, "MODEL.SCRL.TEMPERATURE")
        return {
            **super().from_config(cfg, shapes),
            "predictor": nn.Identity(),
            "negatives": node.NEGATIVES,
            "temperature": node.TEMPERATURE,
        }

    def forward(self, views, passes):
        boxes, usable = self.sample(views)
        rows = {i: self._pool(passes.online(i), boxes[i]) for i in self.online_views}
        first, second = passes.through(self.projector, rows).values()  # (N * K, D)
        groups, everyone = self._groups(usable)
        weights = usable.repeat_interleave(self.sampling["num_boxes"]).float()
        loss = nt_xent(
            torch.cat([first, second]),
            torch.cat([second, first]),
            torch.cat([gather_rows_with_gradient(x) for x in (first, second)]),
            groups.repeat(2),
            everyone.repeat(2),
            self.temperature,
            weights.repeat(2),
        )
        self._log(views, usable, second)
        return {"loss_box_batch_contrast": weigh_by_count(loss, weights.sum())}

    def _groups(self, usable):
        """Groups whose boxes are no negatives of one another.

        Returns:
            (N * K,) of the boxes of this process; (world size * N * K,) of those of all, -1 for the
            boxes of images that do not count.
        """
        count, usable = self.sampling["num_boxes"], gather_rows(usable)
        usable = usable.repeat_interleave(count)
        groups = torch.arange(len(usable), device=usable.device)  # the two views of a box
        if self.negatives == "other_images":
            groups = groups // count
        return own_rows(groups), groups.masked_fill(~usable, -1)
