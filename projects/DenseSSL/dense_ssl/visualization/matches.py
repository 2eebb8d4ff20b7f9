"""The views of some images side by side, matched boxes in the same colour."""

import cv2
import numpy as np
from matplotlib import colormaps

_MARGIN = 4


def draw_matches(images, boxes, scale=1):
    """Draw views and their matched boxes.

    Args:
        images: list over views of (N, 3, H, W) float, RGB, 0 to 255; sizes may differ.
        boxes: {view: (N, K, 4)} in view pixels; box k has one colour in all views. Boxes without
            area are left out.
        scale: integer, drawing pixels per view pixel.

    Returns:
        uint8 (3, height, width): a row per image, a column per view.
    """
    columns = []
    side = scale * max(max(x.shape[-2:]) for x in images)
    for view, batch in enumerate(images):
        rows = []
        for row, image in enumerate(batch):
            pixels = image.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
            pixels = pixels.repeat(scale, axis=0).repeat(scale, axis=1)
            if view in boxes:
                _draw_boxes(pixels, scale * boxes[view][row].numpy())
            rows.append(_pad(pixels, side))
        columns.append(np.concatenate(rows, axis=0))
    return np.concatenate(columns, axis=1).transpose(2, 0, 1)


def _draw_boxes(pixels, boxes):
    palette = colormaps["tab10"].colors
    for k, (x1, y1, x2, y2) in enumerate(boxes):
        if x2 - x1 <= 0 or y2 - y1 <= 0:
            continue
        colour = tuple(int(255 * x) for x in palette[k % len(palette)])
        # edge coordinates: the last pixel that a box ending at x2 covers is x2 - 1
        corners = [(round(float(x1)), round(float(y1))),
                   (round(float(x2)) - 1, round(float(y2)) - 1)]  # fmt: skip
        cv2.rectangle(pixels, *corners, colour, thickness=max(1, pixels.shape[0] // 128))


def _pad(pixels, side):
    height, width = pixels.shape[:2]
    canvas = np.full((side + _MARGIN, side + _MARGIN, 3), 255, np.uint8)
    canvas[:height, :width] = pixels
    return canvas
