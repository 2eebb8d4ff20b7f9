"""Views of some images side by side, with matched boxes in the same colour."""

import cv2
from matplotlib import colormaps

from .canvas import enlarged, side_by_side


def draw_matches(images, boxes, scale=1):
    """Draw views and their matched boxes.

    Args:
        images: list over views of (N, 3, H, W) float, RGB, 0 to 255; sizes may differ.
        boxes: {view: (N, K, 4)} in view pixels; box k has one colour in all views. Empty boxes
            are left out.
        scale: integer, drawing pixels per view pixel.

    Returns:
        uint8 (3, height, width): a row per image, a column per view.
    """
    columns = []
    for view, batch in enumerate(images):
        rows = [enlarged(image, scale) for image in batch]
        if view in boxes:
            for pixels, row in zip(rows, boxes[view]):
                _draw_boxes(pixels, scale * row.numpy())
        columns.append(rows)
    return side_by_side(columns)


def _draw_boxes(pixels, boxes):
    for k, (x1, y1, x2, y2) in enumerate(boxes):
        if x2 - x1 <= 0 or y2 - y1 <= 0:
            continue
        # edge coordinates: the last pixel of a box that ends at x2 is x2 - 1
        corners = [(round(float(x1)), round(float(y1))),
                   (round(float(x2)) - 1, round(float(y2)) - 1)]  # fmt: skip
        thickness = max(1, pixels.shape[0] // 128)
        cv2.rectangle(pixels, *corners, _colour(k, len(boxes)), thickness)


def _colour(k, count):
    """Return colour k: one of ten distinct colours, or of a colour scale for more boxes."""
    palette = colormaps["tab10"].colors
    colour = palette[k] if count <= len(palette) else colormaps["hsv"](k / count)[:3]
    return tuple(int(255 * x) for x in colour)
