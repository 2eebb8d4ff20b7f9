"""SCRL's boxes as loops: from the crops that were rendered and given random numbers to boxes."""

import math

import torch
from whole_step import shared_part, smallest_sides


def iou(a, b):
    w = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    h = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return w * h / (sum(areas) - w * h) if sum(areas) > w * h else 0.0


def uniform_box(part, smallest, numbers):
    """Eq. 1: w ~ U(w_min, W), x ~ U(0, W - w); likewise h and y."""
    x1, y1, x2, y2 = part
    w_min, h_min = min(smallest[0], x2 - x1), min(smallest[1], y2 - y1)
    w = w_min + numbers[0] * (x2 - x1 - w_min)
    h = h_min + numbers[1] * (y2 - y1 - h_min)
    x, y = x1 + numbers[2] * (x2 - x1 - w), y1 + numbers[3] * (y2 - y1 - h)
    return [x, y, x + w, y + h]


def grid_box(part, smallest, numbers):
    """Eq. 1 in one cell of a random division of the part, of at least the smallest side."""
    cell = list(part)
    for axis in (0, 1):
        side = part[2 + axis] - part[axis]
        most = max(math.floor(side / smallest[axis]), 1)
        count = math.floor(numbers[axis] * most) + 1
        which = math.floor(numbers[2 + axis] * count)
        cell[axis] = part[axis] + which * side / count
        cell[2 + axis] = cell[axis] + side / count
    return uniform_box(cell, smallest, numbers[4:])


def boxes_of_image(part, smallest, numbers, draw, threshold):
    """Section 3.1: a box whose IoU with an earlier one is larger than the threshold is rejected."""
    chosen = []
    for tries in numbers:
        for candidate in tries:
            box = draw(part, smallest, candidate)
            if all(iou(box, other) <= threshold for other in chosen):
                break
        chosen.append(box)  # after the last try the last one stays
    return chosen


def moved(box, numbers, amount):
    """A box (x, y, w, h) of which each number changes by up to a share of the sides (Table 7)."""
    x, y, w, h = box[0], box[1], box[2] - box[0], box[3] - box[1]
    a, b, c, d = ((2 * z - 1) * amount for z in numbers)
    return [x + a * w, y + b * h, x + a * w + w * (1 + c), y + b * h + h * (1 + d)]


def draw_boxes(
    shown, numbers, pixels, draw=uniform_box, threshold=0.5, jitter=0.0, jitter_views=(0, 1)
):
    """The boxes of both views, [(N, K, 4), (N, K, 4)] in image pixels.

    Args:
        shown: ``shown[view][image]``. numbers: the arrays of random numbers, in the order in which
            they were drawn. pixels: the smallest side.
    """
    numbers, result = [x.tolist() for x in numbers], []
    for view in (0, 1):
        if view == 0 or jitter < 0:
            own, drawn = numbers.pop(0), []
            for i, pair in enumerate(zip(*shown[:2])):
                x1, y1, x2, y2 = shared_part(*pair)
                part = (x1, y1, max(x1, x2), max(y1, y2))
                drawn.append(
                    boxes_of_image(part, smallest_sides(*pair, pixels), own[i], draw, threshold)
                )
        boxes = drawn
        if jitter > 0 and view in jitter_views:
            own = numbers.pop(0)
            boxes = [[moved(b, n, jitter) for b, n in zip(*x)] for x in zip(drawn, own)]
        result.append(torch.tensor(boxes, dtype=torch.float64))
    assert not numbers
    return result
