"""Matched boxes for two views: SCRL's sampling (Roh et al. 2021, section 3.1), for a whole batch.

Shapes: N images, K boxes, T candidates per box. Boxes are (x1, y1, x2, y2) in image pixels.
"""

import torch
from torch.nn import functional as F

from ...losses.precision import full_precision
from ...utils.constants import constant
from ...utils.maps import rows_of_cells
from .random_numbers import uniform


def smallest_box(first, second, min_size):
    """Smallest box sides, in image pixels.

    ``min_size`` view pixels, measured in the view that zooms less along each axis, so that the box
    is at least that large in both views.

    Args:
        first, second: :class:`~dense_ssl.structures.Views`.
        min_size: view pixels.

    Returns:
        (N, 2), width and height.
    """
    return min_size / torch.minimum(first.zoom, second.zoom)


def holds_boxes(region, smallest):
    """(N,) bool: is the region (N, 4) larger than the smallest box (N, 2) along both axes?"""
    return (region[:, 2:] - region[:, :2] > smallest).all(dim=1)


def shared_region(first, second, min_size):
    """The part of the images that two views both show, and whether it holds a box.

    Args:
        first, second: :class:`~dense_ssl.structures.Views`. min_size: of :func:`smallest_box`.

    Returns:
        region (N, 4); smallest box (N, 2); usable (N,) bool. Where the views are disjoint the
        region has no area, so that RoIAlign stays finite.
    """
    region = first.overlap(second)
    smallest = smallest_box(first, second, min_size)
    usable = holds_boxes(region, smallest)
    region = torch.cat([region[:, :2], torch.maximum(region[:, :2], region[:, 2:])], dim=1)
    return region, smallest, usable


def uniform_boxes(region, smallest, numbers):
    """Boxes by SCRL's Eq. 1: w ~ U(w_min, W), x ~ U(0, W - w), likewise h and y.

    Args:
        region: (N, 4), the overlap of the two views.
        smallest: (N, 2), smallest width and height.
        numbers: (N, ..., 4) uniform in [0, 1).

    Returns:
        (N, ..., 4) boxes inside ``region``.
    """
    expand = (slice(None),) + (None,) * (numbers.dim() - 2)
    corner, sides = region[:, :2][expand], (region[:, 2:] - region[:, :2])[expand]
    least = torch.minimum(smallest[expand], sides)
    box = least + numbers[..., :2] * (sides - least)
    start = corner + numbers[..., 2:] * (sides - box)
    return torch.cat([start, start + box], dim=-1)


def grid_boxes(region, smallest, numbers):
    """Boxes inside one cell of a random division of the region, as SCRL's released code draws them.

    Each axis is divided into 1 to floor(side / smallest) cells; one cell is picked and Eq. 1 is
    drawn inside it. The code rounds to whole view pixels; here sides and positions are continuous.

    Args:
        region: (N, 4). smallest: (N, 2). numbers: (N, ..., 8) uniform in [0, 1).

    Returns:
        (N, ..., 4) boxes inside ``region``.
    """
    expand = (slice(None),) + (None,) * (numbers.dim() - 2)
    corner, sides = region[:, :2][expand], (region[:, 2:] - region[:, :2])[expand]
    most = (sides / smallest[expand]).floor().clamp(min=1)
    divisions = (numbers[..., :2] * most).floor() + 1
    cell = (numbers[..., 2:4] * divisions).floor()
    cell_sides = sides / divisions
    start = corner + cell * cell_sides
    least = torch.minimum(smallest[expand], cell_sides)
    box = least + numbers[..., 4:6] * (cell_sides - least)
    start = start + numbers[..., 6:8] * (cell_sides - box)
    return torch.cat([start, start + box], dim=-1)


BOX_SAMPLERS = {"uniform": (uniform_boxes, 4), "grid": (grid_boxes, 8)}


def sample_boxes(region, smallest, seeds, num_boxes, sampling, iou_threshold, max_tries, stream=0):
    """Draw K boxes in the region of each image; one too close to an earlier one is drawn again.

    Args:
        region: (N, 4). smallest: (N, 2). seeds: (N,) int64.
        num_boxes: K.
        sampling: a key of ``BOX_SAMPLERS``.
        iou_threshold: a candidate is rejected if its IoU with an earlier box of the image is
            larger.
        max_tries: T; the last candidate stays when all are rejected.
        stream: another value gives other boxes for the same seeds.

    Returns:
        (N, K, 4) boxes. They mean nothing where :func:`holds_boxes` is false.
    """
    draw, width = BOX_SAMPLERS[sampling]
    tries = max_tries if iou_threshold < 1 else 1
    numbers = uniform(seeds, (num_boxes, tries, width), stream).to(region)
    candidates = draw(region, smallest, numbers)  # (N, K, T, 4)
    chosen = candidates[:, :1, 0]  # (N, 1, 4)
    for k in range(1, num_boxes):
        accepted = (pairwise_iou(candidates[:, k], chosen) <= iou_threshold).all(dim=2)  # (N, T)
        # index of the first accepted candidate, T where there is none
        first = (accepted.cumsum(dim=1) == 0).sum(dim=1).clamp(max=tries - 1)
        pick = first[:, None, None].expand(-1, 1, 4)
        chosen = torch.cat([chosen, candidates[:, k].gather(1, pick)], dim=1)
    return chosen


def jitter_boxes(boxes, amount, seeds, stream):
    """Move each box and change its sides by up to ``amount`` of its size.

    The relaxation of the exact match in SCRL's Table 7, where each box "can shrink or expand its
    width and height, and move its position within the margin of a specific percentage". A box is
    (x, y, w, h) there (Eq. 1), so its position is its upper left corner. All four changes are
    uniform in [-amount, amount].

    Args:
        boxes: (N, K, 4). amount: share of the side. seeds: (N,).
        stream: another value gives other changes for the same seeds.
    """
    change = (2 * uniform(seeds, boxes.shape[1:], stream).to(boxes) - 1) * amount
    sides = boxes[..., 2:] - boxes[..., :2]
    corner = boxes[..., :2] + change[..., :2] * sides
    return torch.cat([corner, corner + sides * (1 + change[..., 2:])], dim=-1)


def clip_boxes(boxes, size):
    """Cut boxes (N, K, 4) in view pixels to the view of ``size`` (height, width)."""
    height, width = size
    limit = constant((width, height, width, height), boxes)
    return torch.minimum(boxes.clamp(min=0), limit)


def split_boxes(boxes, size):
    """Cut boxes (N, 4) into ``size`` x ``size`` equal parts each, row by row: (N, size^2, 4)."""
    steps = torch.arange(size, device=boxes.device)
    y, x = (z.flatten() for z in torch.meshgrid(steps, steps, indexing="ij"))
    cell = torch.stack([x, y, x + 1, y + 1], dim=1) / size  # (size^2, 4), in units of the box
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes[:, None, :2].repeat(1, 1, 2) + cell * sides[:, None].repeat(1, 1, 2)


def pairwise_iou(first, second):
    """IoU of boxes (N, A, 4) and (N, B, 4), as (N, A, B)."""
    left, top, right, bottom = first[:, :, None].unbind(dim=-1)  # (N, A, 1)
    others = second[:, None].unbind(dim=-1)  # (N, 1, B)
    width = torch.minimum(right, others[2]) - torch.maximum(left, others[0])
    height = torch.minimum(bottom, others[3]) - torch.maximum(top, others[1])
    shared = width.clamp(min=0) * height.clamp(min=0)
    area = (right - left) * (bottom - top)
    other_area = (others[2] - others[0]) * (others[3] - others[1])
    return shared / (area + other_area - shared).clamp(min=1e-12)


@full_precision
def pool_boxes(pooler, features, boxes):
    """Pool boxes by RoIAlign.

    Each bin of a box is a weighted sum of the cells of the map, with the same weights for every
    channel. RoIAlign of an identity matrix gives these weights, and a matrix product applies them
    to all channels: an order of magnitude faster on CPUs than RoIAlign itself, which runs there on
    one thread. A map with more cells than channels would gain nothing and is pooled directly.

    Args:
        pooler: detectron2's ROIAlign with output size S.
        features: (N, C, H, W).
        boxes: (N, K, 4) in view pixels.

    Returns:
        (N * K * S * S, C), the bins of a box row by row, in float32 or better.
    """
    channels, cells = features.shape[1], features.shape[2:]
    if cells.numel() > channels:
        rows = torch.arange(len(boxes), device=boxes.device).repeat_interleave(boxes.shape[1])
        rois = torch.cat([rows[:, None], boxes.flatten(0, 1)], dim=1).to(features)  # (N * K, 5)
        pooled = pooler(features, rois)  # (N * K, C, S, S)
        return pooled.flatten(2).transpose(1, 2).reshape(-1, channels)
    identity = torch.eye(cells.numel(), dtype=features.dtype, device=features.device)
    rois = F.pad(boxes.flatten(0, 1), (1, 0)).to(features)  # (N * K, 5), all on map 0
    weights = pooler(identity.view(1, -1, *cells), rois)  # (N * K, H * W, S, S)
    weights = weights.flatten(2).transpose(1, 2)  # (N * K, S * S, H * W)
    weights = weights.reshape(len(boxes), -1, cells.numel())  # (N, K * S * S, H * W)
    pooled = torch.bmm(weights, rows_of_cells(features))  # (N, K * S * S, C)
    return pooled.flatten(0, 1)


def pool_box_lists(pooler, features, boxes):
    """Pool boxes by RoIAlign, another number of them in each image.

    Args:
        pooler: detectron2's ROIAlign with output size S.
        features: (N, C, H, W).
        boxes: list of N tensors (K, 4), in view pixels.

    Returns:
        (boxes of all images * S * S, C), see :func:`pool_boxes`.
    """
    return torch.cat([pool_boxes(pooler, x[None], own[None]) for x, own in zip(features, boxes)])
