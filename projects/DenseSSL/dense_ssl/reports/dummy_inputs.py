"""Training inputs of every task, made up."""

import math

import numpy as np
import torch
from detectron2.structures import Boxes, Instances, Keypoints, PolygonMasks

# How many of the regions that are trained on in an image are objects, and how many of these have
# keypoints. detectron2 logs the first (roi_head/num_fg_samples). These numbers make its published
# seconds per iteration of Mask and Keypoint R-CNN agree with those of Faster R-CNN.
OBJECTS = 64
WITH_KEYPOINTS = 20


def dummy_inputs(cfg, height, width):
    """One grey image with labels of each kind, for any meta-architecture of detectron2.

    Its OBJECTS boxes are too narrow to be matched by anything but themselves: that many regions
    are objects then, or as many as MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE x POSITIVE_FRACTION allows.

    Args:
        cfg: config. height, width: in pixels.

    Returns:
        list of one detectron2 dict.
    """
    boxes = narrow_boxes(OBJECTS, height, width)
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(torch.from_numpy(boxes))
    instances.gt_classes = torch.zeros(OBJECTS, dtype=torch.int64)
    if cfg.MODEL.MASK_ON:
        # four corners, x and y in turn
        instances.gt_masks = PolygonMasks([[x[[0, 1, 2, 1, 2, 3, 0, 3]]] for x in boxes])
    if cfg.MODEL.KEYPOINT_ON:
        points = np.zeros((OBJECTS, cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS, 3))
        points[..., :2] = ((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None]
        points[:WITH_KEYPOINTS, :, 2] = 2  # visible
        instances.gt_keypoints = Keypoints(points)
    return [{
        "image": torch.full((3, height, width), 128, dtype=torch.uint8),
        "height": height,
        "width": width,
        "instances": instances,
        "sem_seg": torch.zeros(height, width, dtype=torch.int64),
    }]  # fmt: skip


def narrow_boxes(count, height, width):
    """Boxes (count, 4) float32, x0 y0 x1 y1, eight times as wide as high, that do not overlap."""
    columns = math.ceil(math.sqrt(count * width / height / 8))
    rows = math.ceil(count / columns)
    side = 0.9 * min(width / columns, 8 * height / rows)
    y, x = np.divmod(np.arange(count), columns)
    corner = np.stack([x * width / columns, y * height / rows], axis=1)
    return np.concatenate([corner, corner + [side, side / 8]], axis=1).astype(np.float32)
