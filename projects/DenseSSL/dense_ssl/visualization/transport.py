"""Transport between the nodes of two views."""

import cv2
import numpy as np
from matplotlib import colormaps

from .canvas import enlarged, image_grid, side_by_side
from .sensitivity import outline


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


def draw_flows(flows):
    """Draw where the mass of one cell goes, for several backbones, as Self-EMD's Fig. 5.

    A row per image: the first view with a cell framed in blue, the second view with its right place
    framed, then for each backbone the share of its mass that the cells of the second view get; the
    colours of a row have one scale.

    Args:
        flows: {name: list of :class:`~dense_ssl.analysis.transport.Flow`}, of the same views.

    Returns:
        matplotlib Figure.
    """
    first = next(iter(flows.values()))
    figure, axes = image_grid(len(first), ["view 1", "view 2, right place", *flows], height=2.4)
    for row, flow in enumerate(first):
        node = middle_cell(flow)
        place = flow.points[node].tolist()
        _show(axes[row, 0], flow.pair[0], divmod(node, flow.cells[0][1])[::-1], flow.cells[0])
        _show(axes[row, 1], flow.pair[1], place, flow.cells[1])
        shares = [_shares(x[row]) for x in flows.values()]
        side = len(flow.pair[1].pixels) - 0.5
        for axis, others, share in zip(axes[row, 2:], flows.values(), shares):
            other = others[row]
            # the cell of the same place, if the maps of the backbones differ in size
            place = other.points[middle_cell(other)].tolist()
            _show(axis, other.pair[1], place, other.cells[1], "white")
            axis.imshow(share, extent=(-0.5, side, side, -0.5), cmap="jet", alpha=0.55, vmin=0,
                        vmax=max(x.max() for x in shares), interpolation="bilinear")  # fmt: skip
    return figure


def _shares(flow):
    """Return which share of the middle cell's mass the cells of the second view get: (h', w')."""
    mass = flow.plan[middle_cell(flow)].view(*flow.cells[1]).numpy()
    return mass / max(mass.sum(), 1e-12)


def middle_cell(flow):
    """Return the number of the cell closest to the middle of what both views show."""
    numbers = flow.valid.nonzero()[:, 0]
    places = np.stack([numbers % flow.cells[0][1], numbers // flow.cells[0][1]], axis=1)
    return int(numbers[((places - places.mean(axis=0)) ** 2).sum(axis=1).argmin()])


def _show(axis, view, place, cells, colour="blue"):
    """Show a view with a frame of a cell's size around a place, given as grid indices (x, y)."""
    pixels = view.plain()
    axis.imshow(pixels)
    width, height = len(pixels) / cells[1], len(pixels) / cells[0]
    outline(axis, (place[0] * width, place[1] * height,
                   (place[0] + 1) * width, (place[1] + 1) * height), colour)  # fmt: skip
