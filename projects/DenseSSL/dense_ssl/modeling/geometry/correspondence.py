"""Which cells of two views show the same place of an image, and how often they find each other."""

import torch
from torch.nn import functional as F

from ...losses.chunks import largest_part
from ...losses.precision import full_precision
from ...utils.constants import constant
from .cells import cell_centres_in_image, cell_diagonals


@torch.no_grad()
def corresponding_points(sought, where, sought_cells, where_cells):
    """The places of the cells of one view in the map of another.

    Args:
        sought, where: :class:`~dense_ssl.structures.Views` of the same images.
        sought_cells, where_cells: (h, w) and (h', w'), rows and columns of their maps.

    Returns:
        (N, h * w, 2) grid indices (x, y) of the map of ``where``, (N, h * w) bool: does that view
        show the place (a border belongs to the side that begins there).
    """
    places = where.to_view(cell_centres_in_image(sought, sought_cells))
    limit = constant(where.size[::-1], places)  # (width, height)
    cells = constant(tuple(where_cells)[::-1], places)  # (w', h')
    return places * cells / limit - 0.5, where.shows(places)


@torch.no_grad()
def close_cells(first, second, first_cells, second_cells, threshold):
    """Return which cells of two views lie close together in the image: (N, P, Q) bool.

    PixPro (Xie et al. 2021), Eq. 1: the distance of their centres in image pixels, divided by the
    diagonal of a cell (the larger one, if the views differ in zoom), is at most ``threshold``.

    Args:
        first, second: :class:`~dense_ssl.structures.Views` of the same images.
        first_cells, second_cells: (h, w) and (h', w'), rows and columns of their maps.
        threshold: in diagonals of a cell.
    """
    centres = [
        cell_centres_in_image(view, cells)
        for view, cells in ((first, first_cells), (second, second_cells))
    ]
    diagonal = torch.maximum(
        cell_diagonals(first, first_cells), cell_diagonals(second, second_cells)
    )
    return torch.cdist(*centres) <= threshold * diagonal[:, None, None]


def nearest_cells(points, cells):
    """Grid indices (N, P, 2) to the numbers of the cells they lie in: (N, P), row by row."""
    height, width = cells
    column, row = points.round().long().unbind(dim=-1)
    return row.clamp(0, height - 1) * width + column.clamp(0, width - 1)


@torch.no_grad()
@full_precision
def share_found(anchors, candidates, points, valid):
    """How often the most similar candidate of an anchor is the one at its place.

    Args:
        anchors, candidates: (N, D, h, w), (N, D, h', w'), normalised inside.
        points, valid: of :func:`corresponding_points`.

    Returns:
        Scalar in [0, 1], chance is 1 / (h' * w'); NaN without a valid anchor. On large maps it is
        that of the first images.
    """
    right = nearest_cells(points, candidates.shape[2:])
    anchors, candidates = (F.normalize(x.flatten(2), dim=1) for x in (anchors, candidates))
    largest = largest_part(anchors.device)
    count = max(largest // (anchors.shape[2] * candidates.shape[2]), 1)
    similarity = anchors[:count].transpose(1, 2) @ candidates[:count]  # (n, h * w, h' * w')
    found = similarity.argmax(dim=2) == right[:count]
    return found[valid[:count]].float().mean()


@torch.no_grad()
def share_transported(plan, points, valid, cells):
    """How much of the mass of one view's cells a transport plan brings to their places in another.

    Args:
        plan: (N, h * w, h' * w'), a distribution over pairs of cells for each image.
        points, valid: of :func:`corresponding_points`.
        cells: (h', w').

    Returns:
        Two scalars in [0, 1]: the share of the valid cells' mass that arrives at its place, and
        what would arrive if all mass were spread like the second view's. NaN without a valid cell.
    """
    right = nearest_cells(points, cells)[..., None]  # (N, h * w, 1)
    mass = plan.sum(dim=2)  # (N, h * w)
    arrived = plan.gather(2, right)[..., 0]
    spread = mass * plan.sum(dim=1).gather(1, right[..., 0])
    total = mass[valid].sum()
    return arrived[valid].sum() / total, spread[valid].sum() / total
