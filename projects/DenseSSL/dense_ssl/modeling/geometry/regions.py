"""Regions of an image and the points in them, for a whole batch (Bai et al. 2022, section 3.2).

Each view is looked at on a grid of R x R cells; a cell belongs to the region of the image that lies
under its centre, or to none (-1). Shapes: N images, M regions an image may have, S regions drawn,
P points drawn in each.
"""

import torch


def grid_regions(points, image_size, grid):
    """The region of each point where every image is divided into ``grid`` x ``grid`` equal parts.

    Args:
        points: (N, Q, 2) in image pixels.
        image_size: (N, 2), width and height.
        grid: parts along each axis.

    Returns:
        (N, Q) integers, row by row: 0 is the upper left part, grid^2 - 1 the lower right one.
    """
    part = (points * grid / image_size[:, None].to(points)).floor().long().clamp(0, grid - 1)
    return part[..., 1] * grid + part[..., 0]


def count_cells(regions, number):
    """How many cells each region has: (N, Q) with -1 for none -> (N, M), M = ``number``."""
    return _count_from_none(regions, number)[:, 1:]


def _count_from_none(regions, number):
    """(N, 1 + M): first the cells of no region."""
    counts = torch.zeros(len(regions), number + 1, dtype=torch.long, device=regions.device)
    return counts.scatter_add_(1, regions + 1, torch.ones_like(regions))


def draw_regions(visible, numbers):
    """Draw regions, with repetition, among those that are visible.

    Args:
        visible: (N, M) bool. numbers: (N, S) uniform in [0, 1).

    Returns:
        (N, S) integers; -1 in images where none is visible.
    """
    # the visible ones first, in order
    order = (~visible).to(torch.uint8).argsort(dim=1, stable=True)
    count = visible.sum(dim=1, keepdim=True)
    drawn = order.gather(1, (numbers * count).long())
    return torch.where(count > 0, drawn, -1)


def draw_cells(regions, drawn, numbers, number):
    """Draw cells, with repetition, uniformly within given regions.

    Args:
        regions: (N, Q), region of each cell, -1 for none.
        drawn: (N, S), regions that have a cell, or -1.
        numbers: (N, S, P) uniform in [0, 1).
        number: M.

    Returns:
        (N, S * P) indices of cells; where a region is -1 they mean nothing.
    """
    order = regions.argsort(dim=1, stable=True)  # cells, region by region, from -1 on
    counts = _count_from_none(regions, number)
    first = counts.cumsum(dim=1) - counts  # (N, 1 + M), where in the order a region starts
    count, first = (x.gather(1, drawn + 1) for x in (counts, first))  # (N, S)
    place = first[..., None] + (numbers * count[..., None]).long()  # (N, S, P)
    return order.gather(1, place.flatten(1).clamp(max=regions.shape[1] - 1))
