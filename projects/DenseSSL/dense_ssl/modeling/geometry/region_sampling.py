"""Drawing the regions and points of two views (point-level region contrast, section 3.2)."""

from dataclasses import dataclass

import torch

from ...structures import NO_REGION
from . import regions as region_ops
from .cells import cell_centres
from .random_numbers import uniform


@dataclass
class RegionSample:
    """Regions and points of two views of N images; S regions, P points in each.

    Attributes:
        drawn: (N, S), the regions; -1 in images that have none in both views.
        points: [(N, S * P, 2), (N, S * P, 2)], points in view pixels.
        region_maps: [(N, R * R), (N, R * R)], region of each cell of the views, -1 for none.
        visible: (N, M) bool, regions that both views show.
    """

    drawn: torch.Tensor
    points: list
    region_maps: list
    visible: torch.Tensor

    @property
    def point_regions(self):
        """(N, S * P), the region of each point."""
        return self.drawn.repeat_interleave(self.points[0].shape[1] // self.drawn.shape[1], dim=1)


class RegionSampler:
    """Draws N regions that both views show, and P points of each in both views.

    Paired: the points are places of the image that both views show; point i of one view is
    point i of the other. Unpaired: each view has points of its own in the same regions.
    """

    def __init__(self, *, grid, num_regions, num_points, resolution, paired):
        """
        Args:
            grid: n, divisions of the image along each axis, where the data bring no regions.
            num_regions, num_points: S and P.
            resolution: R, cells of a view along each axis.
            paired: see above.
        """
        self.grid = grid
        self.num_regions = num_regions
        self.num_points = num_points
        self.resolution = resolution
        self.paired = paired

    @torch.no_grad()
    def sample(self, first, second):
        """
        Args:
            first, second: :class:`~dense_ssl.structures.Views` of the same images.

        Returns:
            :class:`RegionSample`.
        """
        views = (first, second)
        image_size = _image_size(views)
        centres = [cell_centres(x, self._cells(x)) for x in views]
        maps = [self._region_map(x, c, image_size) for x, c in zip(views, centres)]
        if self.paired:  # only what the other view shows as well
            maps = [
                torch.where(b.shows(b.to_view(a.to_image(c))), m, -1)
                for a, b, c, m in zip(views, views[::-1], centres, maps)
            ]
        number = max(int(x.max()) for x in maps) + 1
        counts = [region_ops.count_cells(x, max(number, 1)) for x in maps]
        # a sliver of overlap may hold a cell's centre in one view and none in the other
        visible = (counts[0] > 0) & (counts[1] > 0)
        drawn = region_ops.draw_regions(visible, self._numbers(first, 1, self.num_regions))
        points = [self._draw_points(first, 2, centres[0], maps[0], drawn)]
        if self.paired:
            points.append(second.to_view(first.to_image(points[0])))
        else:
            points.append(self._draw_points(first, 3, centres[1], maps[1], drawn))
        return RegionSample(drawn, points, maps, visible)

    def _draw_points(self, first, stream, centres, region_map, drawn):
        """(N, S * P, 2), P cell centres in each of the regions ``drawn``."""
        numbers = self._numbers(first, stream, self.num_regions, self.num_points)
        cells = region_ops.draw_cells(region_map, drawn, numbers)
        return centres.gather(1, cells[..., None].expand(-1, -1, 2))

    def _cells(self, view):
        return (self.resolution,) * 2 if view.regions is None else view.regions.shape[1:]

    def _region_map(self, view, centres, image_size):
        if view.regions is None:
            return region_ops.grid_regions(view.to_image(centres), image_size, self.grid)
        regions = view.regions.flatten(1).long()
        return torch.where(regions == NO_REGION, -1, regions)

    @staticmethod
    def _numbers(view, stream, *shape):
        return uniform(view.seeds, shape, stream)


def _image_size(views):
    """(N, 2); where it is not known, as far as the views reach."""
    if views[0].image_size is not None:
        return views[0].image_size
    return torch.stack([x.footprint()[:, 2:] for x in views]).amax(dim=0)
