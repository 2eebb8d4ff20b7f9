"""Matched boxes for two views: SCRL's sampling (Roh et al. 2021, section 3.1), for a whole batch.

Shapes: N images, K boxes, T candidates per box. Boxes are (x1, y1, x2, y2) in image pixels.
"""

import torch

from .random_stream import uniform


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
        iou_threshold: IoU with an earlier box of the image from which a candidate is rejected.
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
        accepted = (pairwise_iou(candidates[:, k], chosen) < iou_threshold).all(dim=2)  # (N, T)
        # index of the first accepted candidate, T where there is none
        first = (accepted.cumsum(dim=1) == 0).sum(dim=1).clamp(max=tries - 1)
        pick = first[:, None, None].expand(-1, 1, 4)
        chosen = torch.cat([chosen, candidates[:, k].gather(1, pick)], dim=1)
    return chosen


def jitter_boxes(boxes, amount, seeds, stream):
    """Move the centre and change the sides of each box by up to ``amount`` of its size.

    The relaxation of the exact match in SCRL's Table 7; the paper gives no formula, here all four
    changes are uniform in [-amount, amount].

    Args:
        boxes: (N, K, 4). amount: share of the side. seeds: (N,). stream: one per view.
    """
    change = (2 * uniform(seeds, boxes.shape[1:], stream).to(boxes) - 1) * amount
    sides = boxes[..., 2:] - boxes[..., :2]
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2 + change[..., :2] * sides
    half = sides * (1 + change[..., 2:]) / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def clip_boxes(boxes, size):
    """Cut boxes (N, K, 4) in view pixels to the view of ``size`` (height, width)."""
    height, width = size
    limit = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), limit)


def pairwise_iou(first, second):
    """IoU of boxes (N, A, 4) and (N, B, 4), as (N, A, B)."""
    low = torch.maximum(first[:, :, None, :2], second[:, None, :, :2])
    high = torch.minimum(first[:, :, None, 2:], second[:, None, :, 2:])
    shared = (high - low).clamp(min=0).prod(dim=-1)
    areas = [(x[..., 2:] - x[..., :2]).prod(dim=-1) for x in (first, second)]
    return shared / (areas[0][:, :, None] + areas[1][:, None] - shared).clamp(min=1e-12)
