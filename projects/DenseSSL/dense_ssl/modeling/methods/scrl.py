"""SCRL (Roh et al. 2021): matched boxes of two views predict each other's pooled features."""

import torch
from detectron2.config import configurable
from detectron2.layers import ROIAlign
from detectron2.modeling import META_ARCH_REGISTRY

from ...losses import cosine_distance
from ...losses.precision import at_least_float32
from ...structures import overlap
from ...utils.distributed import weigh_by_count
from ...utils.events import is_logged, log_feature_std, put_scalar
from ..backbones import feature_shape
from ..geometry import boxes as box_ops
from ..heads import MLPHead
from ..objective import OBJECTIVE_REGISTRY, Objective
from ..pretrainer import Pretrainer


@OBJECTIVE_REGISTRY.register()
class SCRLObjective(Objective):
    """The spatial consistency loss, Eq. 2 and 3: both directions summed, range [0, 8].

    K boxes are drawn in the overlap of the two views and pooled by 1 x 1 RoIAlign. An image whose
    overlap is too small for a box keeps its rows (so that shapes, and with them the collectives of
    synchronised norms, are the same in every process), but with weight 0 in the loss.
    """

    node, label = "SCRL", "scrl"

    @configurable
    def __init__(
        self,
        *,
        in_feature,
        in_channels,
        stride,
        hidden_dim,
        out_dim,
        norm,
        sampling,
        min_box_size,
        jitter,
        aligned,
        sampling_ratio,
    ):
        """
        Args:
            in_feature: name of the feature map that boxes are pooled from.
            in_channels, stride: its channels and its stride in view pixels.
            hidden_dim, out_dim, norm: of projector and predictor.
            sampling: keyword arguments of :func:`~dense_ssl.modeling.geometry.boxes.sample_boxes`.
            min_box_size: smallest box side in view pixels; 0 for the stride.
            jitter: largest change of a box per view; negative for unrelated boxes.
            aligned, sampling_ratio: of RoIAlign.
        """
        super().__init__()
        self.in_feature = in_feature
        self.sampling = sampling
        self.min_box_size = min_box_size or float(stride)
        self.jitter = jitter
        self.pooler = ROIAlign(1, 1.0 / stride, sampling_ratio, aligned)
        self.projector = MLPHead(in_channels, hidden_dim, out_dim, norm)
        self.predictor = MLPHead(out_dim, hidden_dim, out_dim, norm)
        self.add_target("projector")

    @classmethod
    def from_config(cls, cfg, shapes):
        node = cfg.MODEL.SCRL
        if node.BOX_SAMPLING not in box_ops.BOX_SAMPLERS:
            raise ValueError(
                f"MODEL.SCRL.BOX_SAMPLING is {node.BOX_SAMPLING!r}; it must be one of "
                f"{sorted(box_ops.BOX_SAMPLERS)}."
            )
        if node.NUM_BOXES < 1 or node.MAX_TRIES < 1:
            raise ValueError("MODEL.SCRL.NUM_BOXES and MODEL.SCRL.MAX_TRIES must be at least 1.")
        shape = feature_shape(shapes, node.IN_FEATURE, "MODEL.SCRL.IN_FEATURE")
        return {
            "in_feature": node.IN_FEATURE,
            "in_channels": shape.channels,
            "stride": shape.stride,
            "hidden_dim": node.HIDDEN_DIM,
            "out_dim": node.OUT_DIM,
            "norm": cfg.MODEL.SSL.HEAD_NORM,
            "sampling": {
                "num_boxes": node.NUM_BOXES,
                "sampling": node.BOX_SAMPLING,
                "iou_threshold": node.IOU_THRESHOLD,
                "max_tries": node.MAX_TRIES,
            },
            "min_box_size": node.MIN_BOX_SIZE,
            "jitter": node.BOX_JITTER,
            "aligned": node.ALIGNED,
            "sampling_ratio": node.SAMPLING_RATIO,
        }

    def forward(self, views, passes):
        boxes, usable = self.sample(views)
        # one weight per box: (N,) -> (N * K,)
        weights = usable.repeat_interleave(self.sampling["num_boxes"]).float()
        loss = 0
        for online, target in ((0, 1), (1, 0)):
            projection = self.projector(self._pool(passes.online(online), boxes[online]))
            prediction = self.predictor(projection)
            with torch.no_grad():
                wanted = self.target_projector(self._pool(passes.target(target), boxes[target]))
            loss = loss + cosine_distance(prediction, wanted, weights)
        loss = weigh_by_count(loss, weights.sum())
        self._log(views, usable, projection)
        return {"loss_scrl": loss}

    @torch.no_grad()
    def sample(self, views):
        """Boxes of the two views.

        Returns:
            ({0: (N, K, 4), 1: (N, K, 4)} in view pixels, (N,) bool: does the image count).
        """
        first, second = views[:2]
        region, smallest, usable = box_ops.shared_region(first, second, self.min_box_size)
        boxes = {}
        for index, view in enumerate((first, second)):
            if index == 0 or self.jitter < 0:
                drawn = box_ops.sample_boxes(
                    region, smallest, first.seeds, stream=index, **self.sampling
                )
            moved = drawn
            if self.jitter > 0:
                moved = box_ops.jitter_boxes(drawn, self.jitter, first.seeds, stream=2 + index)
            boxes[index] = box_ops.clip_boxes(view.boxes_to_view(moved), view.size)
        return boxes, usable

    def matches(self, views):
        boxes, usable = self.sample(views)
        return {index: x * usable[:, None, None] for index, x in boxes.items()}

    def _pool(self, features, boxes):
        """(N, C, H, W), (N, K, 4) -> (N * K, C)."""
        # ROIAlign would cast the boxes to the type of the features: keep both in float32
        features = at_least_float32(features[self.in_feature])
        return box_ops.pool_boxes(self.pooler, features, boxes)

    @torch.no_grad()
    def _log(self, views, usable, projection):
        log_feature_std(f"{self.label}/feature_std", projection)
        if not is_logged():
            return
        region, footprint = overlap(*views[:2]), views[0].footprint()
        shared = (region[:, 2:] - region[:, :2]).clamp(min=0).prod(dim=1)
        whole = (footprint[:, 2:] - footprint[:, :2]).prod(dim=1)
        put_scalar(f"{self.label}/overlap_rate", usable.float().mean())
        put_scalar(f"{self.label}/overlap_area", (shared / whole).mean())
        boxes = usable.float().mean() * self.sampling["num_boxes"]
        put_scalar(f"{self.label}/boxes_per_image", boxes)


@META_ARCH_REGISTRY.register()
class SCRL(Pretrainer):
    """Matched boxes of two views predict each other's pooled features."""

    objective_names = ("SCRLObjective",)
