"""Synthetic training inputs for every task."""

import math

import numpy as np
import torch
from detectron2.structures import Boxes, Instances, Keypoints, PolygonMasks

# Training regions of an image that are objects (detectron2 logs roi_head/num_fg_samples), and those
# of them that have keypoints. With these numbers, the published seconds per iteration of Mask and
# Keypoint R-CNN agree with those of Faster R-CNN.
OBJECTS = 64
WITH_KEYPOINTS = 20


def dummy_inputs(cfg, height, width):
    """Return a grey image with labels of each kind, for any meta-architecture of detectron2.

    The boxes are so narrow that nothing matches them except themselves: detectron2 adds them to the
    proposals. So the number of regions that are objects is OBJECTS, or less if
    MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE x POSITIVE_FRACTION is less.

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
        # the corners of a box, x and y in turn
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
        "category_id": 0,  # of the image
        "sem_seg": torch.zeros(height, width, dtype=torch.int64),
    }]  # fmt: skip


def narrow_boxes(count, height, width):
    """Return boxes (count, 4) float32, x0 y0 x1 y1, 8 times wider than high, without overlap."""
    columns = math.ceil(math.sqrt(count * width / height / 8))
    rows = math.ceil(count / columns)
    side = 0.9 * min(width / columns, 8 * height / rows)
    y, x = np.divmod(np.arange(count), columns)
    corner = np.stack([x * width / columns, y * height / rows], axis=1)
    return np.concatenate([corner, corner + [side, side / 8]], axis=1).astype(np.float32)
