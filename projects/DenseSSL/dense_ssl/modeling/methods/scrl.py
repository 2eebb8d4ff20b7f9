"""SCRL (Roh et al. 2021): matched boxes of two views predict each other's pooled features."""

import torch
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.layers import ROIAlign
from detectron2.modeling import META_ARCH_REGISTRY

from ...losses import cosine_distance
from ...utils.checks import require_one_of, require_positive
from ...utils.distributed import weigh_by_count
from ...utils.events import is_logged, log_feature_std, put_scalar
from ..backbones import require_feature
from ..geometry import boxes as box_ops
from ..heads import MLPHead
from ..objective import DIRECTIONS, OBJECTIVE_REGISTRY, Objective
from ..pretrainer import Pretrainer


@OBJECTIVE_REGISTRY.register()
class SCRLObjective(Objective):
    """The spatial consistency loss, Eq. 2, as a mean over both directions: range [0, 4].

    K boxes are drawn in the overlap of the two views and pooled by 1 x 1 RoIAlign. An image whose
    overlap is too small for a box keeps its rows, with weight 0 in the loss: shapes, and so the
    collectives of synchronised batch norm, are the same in every process.
    """

    node, label = "SCRL", "scrl"

    @configurable
    def __init__(
        self,
        *,
        in_feature,
        projector,
        predictor,
        pooler,
        sampling,
        min_box_size,
        jitter=0.0,
        jitter_views=(0, 1),
    ):
        """
        Args:
            in_feature: name of the feature map that boxes are pooled from.
            projector, predictor: heads, (N, C) -> (N, D) and (N, D) -> (N, D).
            pooler: detectron2's ROIAlign with output size 1.
            sampling: keyword arguments of
                :func:`~dense_ssl.modeling.geometry.boxes.sample_boxes`.
            min_box_size: smallest box side in view pixels.
            jitter: largest change of a box; negative for unrelated boxes.
            jitter_views: indices of the views whose boxes change.
        """
        super().__init__()
        self.in_feature = in_feature
        self.sampling = sampling
        self.min_box_size = self.smallest_side = min_box_size
        self.jitter = jitter
        self.jitter_views = jitter_views
        self.pooler = pooler
        self.projector = projector
        self.predictor = predictor
        if self.target_views:
            self.add_target("projector")

    @classmethod
    def add_config(cls, cfg):
        node = cfg.MODEL.SCRL = CN()
        # Feature map that the boxes are pooled from.
        node.IN_FEATURE = "res5"
        node.HIDDEN_DIM = 4096
        node.OUT_DIM = 256
        # Boxes per image (K).
        node.NUM_BOXES = 10
        # "uniform": Eq. 1 of the paper. "grid": each box lies in one cell of a random division of
        # the overlap, as in the authors' code (smaller boxes).
        node.BOX_SAMPLING = "uniform"
        # Smallest box side in view pixels, in the view of lower zoom; 0: the stride of IN_FEATURE.
        node.MIN_BOX_SIZE = 0
        # A box whose IoU with an earlier one of its image is larger than this is drawn again, up to
        # MAX_TRIES times; 1 accepts every box. The paper says "larger than 50%" (its code redraws
        # at 0.5 too) and gives no limit of tries (50 in the code, which then keeps the last box).
        node.IOU_THRESHOLD = 0.5
        node.MAX_TRIES = 50
        # Position and sides of a box change by up to this share of its size (Table 7): 0, 0.1, 0.2;
        # a negative value draws unrelated boxes in the two views (the infinity there).
        node.BOX_JITTER = 0.0
        # The views in which boxes move, each on its own. The paper jitters "each box" of a matched
        # pair, so both; its code moves the boxes of one view: (1,).
        node.BOX_JITTER_VIEWS = (0, 1)
        # Of BoxBatchContrastObjective (appendix I): its negatives are the boxes of "other_images"
        # of the batch, or "all" other boxes, as in SimCLR; the paper does not say. The temperature
        # is SimCLR's.
        node.NEGATIVES = "other_images"
        node.TEMPERATURE = 0.1
        # RoIAlign with the half-pixel shift (detectron2's) or without (the authors' code).
        node.ALIGNED = True
        # Sampling points of RoIAlign per bin side; 0: adaptive.
        node.SAMPLING_RATIO = 0

    @classmethod
    def from_config(cls, cfg, shapes):
        node, norm = cfg.MODEL.SCRL, cfg.MODEL.SSL.HEAD_NORM
        require_one_of("MODEL.SCRL.BOX_SAMPLING", node.BOX_SAMPLING, box_ops.BOX_SAMPLERS)
        require_positive(cfg, "MODEL.SCRL.NUM_BOXES", "MODEL.SCRL.MAX_TRIES")
        jitter_views = tuple(node.BOX_JITTER_VIEWS)
        require_one_of("MODEL.SCRL.BOX_JITTER_VIEWS", jitter_views, ((0, 1), (0,), (1,)))
        shape = require_feature(shapes, node.IN_FEATURE, "MODEL.SCRL.IN_FEATURE")
        return {
            "in_feature": node.IN_FEATURE,
            "projector": MLPHead(shape.channels, node.HIDDEN_DIM, node.OUT_DIM, norm),
            "predictor": MLPHead(node.OUT_DIM, node.HIDDEN_DIM, node.OUT_DIM, norm),
            "pooler": ROIAlign(1, 1.0 / shape.stride, node.SAMPLING_RATIO, node.ALIGNED),
            "sampling": {
                "num_boxes": node.NUM_BOXES,
                "sampling": node.BOX_SAMPLING,
                "iou_threshold": node.IOU_THRESHOLD,
                "max_tries": node.MAX_TRIES,
            },
            "min_box_size": node.MIN_BOX_SIZE or float(shape.stride),
            "jitter": node.BOX_JITTER,
            "jitter_views": jitter_views,
        }

    def forward(self, views, passes):
        boxes, usable = self.sample(views)
        # one weight per box: (N,) -> (N * K,)
        weights = usable.repeat_interleave(self.sampling["num_boxes"]).float()
        online = {i: self._pool(passes.online(i), boxes[i]) for i in self.online_views}
        projections = passes.through(self.projector, online)
        predictions = passes.through(self.predictor, projections)
        with torch.no_grad():
            target = {i: self._pool(passes.target(i), boxes[i]) for i in self.target_views}
            goals = passes.through(self.target_projector, target)
        terms = [cosine_distance(predictions[o], goals[t], weights) for o, t in DIRECTIONS]
        loss = weigh_by_count(sum(terms) / len(terms), weights.sum())
        self._log(views, usable, projections[1])
        return {"loss_scrl": loss}

    @torch.no_grad()
    def sample(self, views):
        """Draw the boxes of the two views.

        Returns:
            ({0: (N, K, 4), 1: (N, K, 4)} in view pixels, (N,) bool: True if the image counts).
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
            if self.jitter > 0 and index in self.jitter_views:
                moved = box_ops.jitter_boxes(drawn, self.jitter, first.seeds, stream=2 + index)
            boxes[index] = box_ops.clip_boxes(view.boxes_to_view(moved), view.size)
        return boxes, usable

    def matches(self, views):
        boxes, usable = self.sample(views)
        return {index: x * usable[:, None, None] for index, x in boxes.items()}

    def _pool(self, features, boxes):
        """(N, C, H, W), (N, K, 4) -> (N * K, C)."""
        return box_ops.pool_boxes(self.pooler, features[self.in_feature], boxes)

    @torch.no_grad()
    def _log(self, views, usable, projection):
        log_feature_std(f"{self.label}/feature_std", projection)
        self.log_overlap(usable)
        if is_logged():
            region, footprint = views[0].overlap(views[1]), views[0].footprint()
            shared = (region[:, 2:] - region[:, :2]).clamp(min=0).prod(dim=1)
            whole = (footprint[:, 2:] - footprint[:, :2]).prod(dim=1)
            put_scalar(f"{self.label}/overlap_area", (shared / whole).mean())
            boxes = usable.float().mean() * self.sampling["num_boxes"]
            put_scalar(f"{self.label}/boxes_per_image", boxes)


@META_ARCH_REGISTRY.register()
class SCRL(Pretrainer):
    """Eq. 3: the sum over both directions, range [0, 8]."""

    objective_names = ("SCRLObjective",)
    objective_scales = (2.0,)
