"""Reading feature maps at points and over regions, as if enlarged to R x R by interpolation."""

import torch
from torch.nn import functional as F

from ...losses import read_cells
from ...losses.precision import full_precision
from ...utils.constants import constant
from ...utils.maps import rows_of_cells

# Statistics are computed on at most this many points.
_LOGGED_POINTS = 256


@full_precision
def read_points(features, points, size):
    """Return the features at continuous positions of a view.

    The bilinear reading of ``interpolate(..., align_corners=False)``: at the centre of a cell of
    the enlarged map it is the value of that cell, whatever the resolution, so the enlarged map is
    never made.

    Args:
        features: (N, D, H, W).
        points: (N, Q, 2), (x, y) in view pixels.
        size: (height, width) of the view.

    Returns:
        (N, Q, D), in float32 or better.
    """
    extent = constant(size[::-1], points)
    cells = constant(features.shape[:1:-1], points)
    return read_cells(features, points * cells / extent - 0.5)


@full_precision
def mean_over_regions(features, regions, drawn):
    """Return the mean of the enlarged map over regions.

    Args:
        features: (N, D, H, W).
        regions: (N, R * R), region of each cell of the enlarged map, -1 for none.
        drawn: (N, S), regions to average over; -1 gives zeros.

    Returns:
        (N, S, D), in float32 or better.
    """
    cells, resolution = features.shape[2:], round(regions.shape[1] ** 0.5)
    identity = torch.eye(cells.numel()).to(features).view(1, -1, *cells)
    enlarge = F.interpolate(identity, (resolution, resolution), mode="bilinear")[0]  # (HW, R, R)
    member = (regions[:, None] == drawn[..., None]) & (drawn >= 0)[..., None]  # (N, S, R * R)
    weights = member.to(features) / member.sum(dim=2, keepdim=True).clamp(min=1)
    weights = weights @ enlarge.flatten(1).T  # (N, S, H * W)
    return weights @ rows_of_cells(features)  # (N, S, D)


@torch.no_grad()
@full_precision
def share_in_region(query, key, regions):
    """Return how often the key most similar to a query is in the query's region of its image.

    Args:
        query, key: (N, Q, D), normalised inside.
        regions: (N, Q), at least one of them not -1 (which stands for none).

    Returns:
        Two scalars in [0, 1]: the share, and that of a random choice.
    """
    images = torch.arange(len(query), device=query.device)[:, None]
    valid = regions >= 0
    label = (regions + images * (regions.max() + 1))[valid]
    query, key = F.normalize(query[valid], dim=1), F.normalize(key[valid], dim=1)
    rows = slice(None, None, -(-len(query) // _LOGGED_POINTS))  # spread over the batch
    nearest = (query[rows] @ key.T).argmax(dim=1)
    found = label[nearest] == label[rows]
    return found.float().mean(), (label[rows, None] == label).float().mean()
