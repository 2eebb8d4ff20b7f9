"""The cells of feature maps: where they lie on a view and in the image.

Shapes: N images, a map of h x w cells, listed row by row.
"""

import torch

from ...utils.constants import constant


def cell_centres(view, cells):
    """Return the centres of the cells of a map, (N, h * w, 2), (x, y) in view pixels.

    Args:
        view: :class:`~dense_ssl.structures.Views`.
        cells: (h, w), rows and columns of the map.
    """
    y, x = (
        (torch.arange(count, device=view.affine.device) + 0.5).to(view.affine) * side / count
        for count, side in zip(cells, view.size)
    )
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1).expand(len(view), -1, 2)


def cell_centres_in_image(view, cells):
    """Return the centres of the cells of a map, (N, h * w, 2), (x, y) in image pixels."""
    return view.to_image(cell_centres(view, cells))


def cell_diagonals(view, cells):
    """Return the length of the diagonal of a cell, (N,), in image pixels.

    Args:
        view: :class:`~dense_ssl.structures.Views`. cells: (h, w).
    """
    pixels = constant((view.size[1] / cells[1], view.size[0] / cells[0]), view.affine)
    return (pixels / view.zoom).norm(dim=1)


def squares_around(points, shown, size):
    """Return squares to draw around points, (N, P, 4) in view pixels.

    Args:
        points: (N, P, 2) in view pixels.
        shown: (N, P) bool; where False the square has no area, so that it is not drawn.
        size: (height, width) of the view; a square is a 24th of its longer side.
    """
    half = max(size) / 48
    return torch.cat([points - half, points + half], dim=2) * shown[:, :, None]
