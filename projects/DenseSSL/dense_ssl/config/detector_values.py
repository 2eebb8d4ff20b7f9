"""The values that detectron2's own keys may have, for those where it says nothing or too late."""

import math

from ..modeling.building import IN_FEATURES

_POOLED = ("ROI_BOX_HEAD", "ROI_MASK_HEAD", "ROI_KEYPOINT_HEAD")
_REGRESSED = ("RPN", "ROI_BOX_HEAD", "RETINANET")
_MATCHED = ("RPN", "ROI_HEADS", "RETINANET")


def _keys(nodes, name):
    """("RPN", "ROI_HEADS"), "X" -> "MODEL.RPN.X MODEL.ROI_HEADS.X"."""
    return " ".join(f"MODEL.{x}.{name}" for x in nodes)


# As in value_tables.py: (least value, largest value, whether the least one is excluded): keys.
RANGES = {
    (0, math.inf, True): f"""
        MODEL.ANCHOR_GENERATOR.SIZES MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS
        {_keys((*_REGRESSED, "ROI_BOX_CASCADE_HEAD"), "BBOX_REG_WEIGHTS")}""",
    (0, math.inf, False): f"""
        MODEL.PROPOSAL_GENERATOR.MIN_SIZE
        MODEL.RPN.LOSS_WEIGHT MODEL.RPN.BBOX_REG_LOSS_WEIGHT MODEL.RPN.SMOOTH_L1_BETA
        MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA
        {_keys(_POOLED, "POOLER_SAMPLING_RATIO")}
        MODEL.ROI_BOX_HEAD.NUM_FC MODEL.ROI_BOX_HEAD.NUM_CONV MODEL.ROI_MASK_HEAD.NUM_CONV
        MODEL.ROI_KEYPOINT_HEAD.LOSS_WEIGHT MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE
        MODEL.RETINANET.NUM_CONVS MODEL.RETINANET.FOCAL_LOSS_GAMMA
        MODEL.RETINANET.SMOOTH_L1_LOSS_BETA SOLVER.NUM_DECAYS""",
    (1, math.inf, False): f"""
        MODEL.RPN.PRE_NMS_TOPK_TRAIN MODEL.RPN.PRE_NMS_TOPK_TEST
        MODEL.RPN.POST_NMS_TOPK_TRAIN MODEL.RPN.POST_NMS_TOPK_TEST
        {_keys(_POOLED, "POOLER_RESOLUTION")}
        MODEL.ROI_BOX_HEAD.FC_DIM MODEL.ROI_BOX_HEAD.CONV_DIM MODEL.ROI_MASK_HEAD.CONV_DIM
        MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS
        MODEL.RETINANET.TOPK_CANDIDATES_TEST MODEL.RESNETS.DEFORM_NUM_GROUPS
        MODEL.SEM_SEG_HEAD.COMMON_STRIDE""",
    (0, 1, True): f"{_keys(_MATCHED, 'IOU_THRESHOLDS')} MODEL.ROI_BOX_CASCADE_HEAD.IOUS",
    (0, 1, False): """
        MODEL.RPN.POSITIVE_FRACTION MODEL.RETINANET.PRIOR_PROB MODEL.RETINANET.FOCAL_LOSS_ALPHA""",
    (0, 0.9999999, False): "MODEL.ANCHOR_GENERATOR.OFFSET",
    (-1, 1, False): _keys(_MATCHED, "IOU_LABELS"),
}

CHOICES = {
    ("ROIAlignV2", "ROIAlign", "ROIPool", "ROIAlignRotated"): _keys(_POOLED, "POOLER_TYPE"),
    ("smooth_l1", "giou", "diou", "ciou"): _keys(_REGRESSED, "BBOX_REG_LOSS_TYPE"),
    ("sum", "avg"): "MODEL.FPN.FUSE_TYPE",
    ("linear", "constant"): "SOLVER.WARMUP_METHOD",
    ("RGB", "BGR", "L", "YUV-BT.601"): "INPUT.FORMAT",
}

NAMES = IN_FEATURES
COUNTS = {key: (4,) for key in _keys(_REGRESSED, "BBOX_REG_WEIGHTS").split()}

# Lists that must have an element; that of a pyramid is empty where there is none.
FILLED = (
    "MODEL.ANCHOR_GENERATOR.SIZES",
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS",
    *(x for x in IN_FEATURES if x != "MODEL.FPN.IN_FEATURES"),
)


def check_detector(cfg):
    """Raise ValueError for keys of detectron2 that do not suit each other."""
    for node in _MATCHED:
        _check_matcher(f"MODEL.{node}", cfg.MODEL[node])
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
