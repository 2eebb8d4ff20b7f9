"""Reading feature maps at points and over regions, as if enlarged to R x R by interpolation."""

import torch
from torch.nn import functional as F

from ...losses import read_cells


def read_points(features, points, size):
    """Features at continuous positions of a view.

    The bilinear reading of ``interpolate(..., align_corners=False)``: at the centre of a cell of
    the enlarged map it is the value of that cell, whatever the resolution, so the enlarged map is
    never made.

    Args:
        features: (N, D, H, W).
        points: (N, Q, 2), (x, y) in view pixels.
        size: (height, width) of the view.

    Returns:
        (N, Q, D).
    """
    extent = points.new_tensor([size[1], size[0]])
    cells = points.new_tensor([features.shape[3], features.shape[2]])
    return read_cells(features, points * cells / extent - 0.5)


def mean_over_regions(features, regions, drawn, resolution):
    """Mean of the enlarged map over regions.

    Args:
        features: (N, D, H, W).
        regions: (N, R * R), region of each cell of the enlarged map, -1 for none.
        drawn: (N, S), regions to average over; -1 gives zeros.
        resolution: R.

    Returns:
        (N, S, D).
    """
    cells = features.shape[2:]
    identity = torch.eye(cells.numel()).to(features).view(1, -1, *cells)
    enlarge = F.interpolate(identity, (resolution, resolution), mode="bilinear")[0]  # (HW, R, R)
    member = (regions[:, None] == drawn[..., None]) & (drawn >= 0)[..., None]  # (N, S, R * R)
    weights = member.to(features) / member.sum(dim=2, keepdim=True).clamp(min=1)
    weights = weights @ enlarge.flatten(1).T  # (N, S, H * W)
    return weights @ features.flatten(2).transpose(1, 2)  # (N, S, D)
