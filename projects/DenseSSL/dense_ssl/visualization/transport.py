"""Transport between the nodes of two views."""

import cv2
import numpy as np
from matplotlib import colormaps

from .canvas import enlarged, side_by_side


def draw_transport(images, plan, first_shape, second_shape, scale=1):
    """Draw the transport of each image's heaviest node.

    Args:
        images: list of two views, each (n, 3, H, W) float, RGB, 0 to 255.
        plan: (n, h * w, h' * w').
        first_shape, second_shape: (h, w), (h', w').
        scale: integer, drawing pixels per view pixel.

    Returns:
        uint8 (3, height, width): a row per image, with three columns: the first view with the mass
        of its nodes, the heaviest one framed; the second view with the mass of its nodes; the
        second view with the mass that each node receives from the framed node. Bright is more.
    """
    columns = ([], [], [])
    for first, second, flow in zip(*images, plan):
        row_mass, column_mass = flow.sum(dim=1), flow.sum(dim=0)
        node = int(row_mass.argmax())
        left = _overlaid(enlarged(first, scale), row_mass.view(*first_shape))
        _frame(left, node, first_shape)
        columns[0].append(left)
        columns[1].append(_overlaid(enlarged(second, scale), column_mass.view(*second_shape)))
        columns[2].append(_overlaid(enlarged(second, scale), flow[node].view(*second_shape)))
    return side_by_side(columns)


def _overlaid(pixels, mass):
    """Return pixels (H, W, 3) with a heat map of masses (h, w) over them."""
    mass = mass.numpy() / max(float(mass.max()), 1e-12)
    mass = cv2.resize(mass.astype(np.float32), pixels.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    heat = 255 * colormaps["magma"](mass)[..., :3]
    return np.ascontiguousarray((0.45 * pixels + 0.55 * heat).astype(np.uint8))


def _frame(pixels, node, shape):
    row, column = divmod(node, shape[1])
    height, width = pixels.shape[0] / shape[0], pixels.shape[1] / shape[1]
    corners = [(round(column * width), round(row * height)),
               (round((column + 1) * width) - 1, round((row + 1) * height) - 1)]  # fmt: skip
    cv2.rectangle(pixels, *corners, (0, 255, 0), max(1, pixels.shape[0] // 100))
