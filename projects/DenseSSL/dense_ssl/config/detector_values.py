"""The values that detectron2's own keys may have, for those where it says nothing or too late."""

import math

from ..modeling.building import IN_FEATURES
from ..utils.checks import value_of

_HEADS = "BOX MASK KEYPOINT"
_POOLERS = ("ROIAlignV2", "ROIAlign", "ROIPool", "ROIAlignRotated")
_BOX_LOSSES = ("smooth_l1", "giou", "diou", "ciou")
_MATCHED = ("MODEL.RPN", "MODEL.ROI_HEADS", "MODEL.RETINANET")

# As in values.py: (least value, largest value, whether the least one itself is excluded): keys.
RANGES = {
    (0, math.inf, True): """
        MODEL.ANCHOR_GENERATOR.SIZES MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS
        MODEL.RPN.BBOX_REG_WEIGHTS MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS
        MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS MODEL.RETINANET.BBOX_REG_WEIGHTS""",
    (0, math.inf, False): """
        MODEL.PROPOSAL_GENERATOR.MIN_SIZE
        MODEL.RPN.LOSS_WEIGHT MODEL.RPN.BBOX_REG_LOSS_WEIGHT MODEL.RPN.SMOOTH_L1_BETA
        MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA
        MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO
        MODEL.ROI_KEYPOINT_HEAD.POOLER_SAMPLING_RATIO
        MODEL.ROI_BOX_HEAD.NUM_FC MODEL.ROI_BOX_HEAD.NUM_CONV MODEL.ROI_MASK_HEAD.NUM_CONV
        MODEL.ROI_KEYPOINT_HEAD.LOSS_WEIGHT MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE
        MODEL.RETINANET.NUM_CONVS MODEL.RETINANET.FOCAL_LOSS_GAMMA
        MODEL.RETINANET.SMOOTH_L1_LOSS_BETA SOLVER.NUM_DECAYS""",
    (1, math.inf, False): f"""
        MODEL.RPN.PRE_NMS_TOPK_TRAIN MODEL.RPN.PRE_NMS_TOPK_TEST
        MODEL.RPN.POST_NMS_TOPK_TRAIN MODEL.RPN.POST_NMS_TOPK_TEST
        {" ".join(f"MODEL.ROI_{x}_HEAD.POOLER_RESOLUTION" for x in _HEADS.split())}
        MODEL.ROI_BOX_HEAD.FC_DIM MODEL.ROI_BOX_HEAD.CONV_DIM MODEL.ROI_MASK_HEAD.CONV_DIM
        MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS
        MODEL.RETINANET.TOPK_CANDIDATES_TEST MODEL.RESNETS.DEFORM_NUM_GROUPS
        MODEL.SEM_SEG_HEAD.COMMON_STRIDE""",
    (0, 1, True): " ".join(f"{x}.IOU_THRESHOLDS" for x in _MATCHED)
    + " MODEL.ROI_BOX_CASCADE_HEAD.IOUS",
    (0, 1, False): """
        MODEL.RPN.POSITIVE_FRACTION MODEL.RETINANET.PRIOR_PROB MODEL.RETINANET.FOCAL_LOSS_ALPHA""",
    (0, 0.9999999, False): "MODEL.ANCHOR_GENERATOR.OFFSET",
    (-1, 1, False): " ".join(f"{x}.IOU_LABELS" for x in _MATCHED),
}

CHOICES = {
    _POOLERS: " ".join(f"MODEL.ROI_{x}_HEAD.POOLER_TYPE" for x in _HEADS.split()),
    _BOX_LOSSES: """MODEL.RPN.BBOX_REG_LOSS_TYPE MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE
        MODEL.RETINANET.BBOX_REG_LOSS_TYPE""",
    ("sum", "avg"): "MODEL.FPN.FUSE_TYPE",
    ("linear", "constant"): "SOLVER.WARMUP_METHOD",
    ("RGB", "BGR", "L", "YUV-BT.601"): "INPUT.FORMAT",
}

NAMES = IN_FEATURES
COUNTS = {f"MODEL.{x}.BBOX_REG_WEIGHTS": (4,) for x in ("RPN", "ROI_BOX_HEAD", "RETINANET")}

# Lists that must have an element.
FILLED = (
    "MODEL.ANCHOR_GENERATOR.SIZES", "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS",
    "MODEL.RPN.IN_FEATURES", "MODEL.ROI_HEADS.IN_FEATURES", "MODEL.RETINANET.IN_FEATURES",
    "MODEL.SEM_SEG_HEAD.IN_FEATURES",
)  # fmt: skip


def check_detector(cfg):
    """Raise ValueError for keys of detectron2 that do not suit each other."""
    for node in _MATCHED:
        _check_matcher(node, value_of(cfg, node))
    mean = cfg.MODEL.PIXEL_MEAN
    # detectron2's ResNets take the number of channels from it
    if len(mean) != 3 and cfg.INPUT.FORMAT != "L" and "resnet" in cfg.MODEL.BACKBONE.NAME:
        raise ValueError(
            f"MODEL.PIXEL_MEAN is {mean}; INPUT.FORMAT {cfg.INPUT.FORMAT!r} needs 3 numbers."
        )
    processes, batch = cfg.SOLVER.REFERENCE_WORLD_SIZE, cfg.SOLVER.IMS_PER_BATCH
    if processes and batch % processes:
        raise ValueError(
            f"SOLVER.REFERENCE_WORLD_SIZE is {processes}; it must divide SOLVER.IMS_PER_BATCH "
            f"{batch}, or be 0."
        )
    for row in cfg.TEST.EXPECTED_RESULTS:
        if not isinstance(row, (list, tuple)) or len(row) != 4:
            raise ValueError(
                f"TEST.EXPECTED_RESULTS is {cfg.TEST.EXPECTED_RESULTS}; each row must be a task, "
                "a metric, a score and a tolerance, such as ['bbox', 'AP', 38.5, 0.2]."
            )


def _check_matcher(node, cfg):
    thresholds, labels = list(cfg.IOU_THRESHOLDS), cfg.IOU_LABELS
    if not thresholds or thresholds != sorted(thresholds):
        raise ValueError(f"{node}.IOU_THRESHOLDS is {thresholds}; it must be numbers that rise.")
    if len(labels) != len(thresholds) + 1 or any(x not in (-1, 0, 1) for x in labels):
        raise ValueError(
            f"{node}.IOU_LABELS is {labels}; it must be 0 (background), -1 (ignored) or 1 (object) "
            f"for each of the {len(thresholds) + 1} ranges that IOU_THRESHOLDS {thresholds} makes."
        )
