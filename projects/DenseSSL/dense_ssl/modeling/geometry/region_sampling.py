"""Drawing the regions and points of two views (point-level region contrast, section 3.2)."""

from dataclasses import dataclass
from typing import Optional

import torch

from ...structures import NO_REGION
from . import regions as region_ops
from .cells import cell_centres
from .random_numbers import uniform


@dataclass
class PointSet:
    """Q points in each of two views of N images.

    Attributes:
        xy: [(N, Q, 2), (N, Q, 2)], in view pixels.
        regions: (N, Q), the region of point i, the same in both views; -1: there is no point.
    """

    xy: list
    regions: torch.Tensor


@dataclass
class RegionSample:
    """Regions and points of two views of N images; S regions, P points in each.

    Attributes:
        drawn: (N, S), the regions; -1 in images that have none in both views.
        visible: (N, M) bool, regions that both views show.
        region_maps: [(N, R * R), (N, R * R)], region of each cell of the views, -1 for none.
        points: :class:`PointSet` of S * P points in the regions ``drawn``.
        pairs: the same for distillation: point i is the same place of the image in both views.
            A region without a place that both views show has no points here. None: ``points``
            are paired already, or no pairs were asked for.
    """

    drawn: torch.Tensor
    visible: torch.Tensor
    region_maps: list
    points: PointSet
    pairs: Optional[PointSet] = None


class RegionSampler:
    """Draws N regions that both views show, and P points of each in both views.

    Unpaired: each view draws its points anywhere in the part of a region that it shows, and pairs
    are a second draw, in the same regions. Paired: regions end where the views stop overlapping,
    and one draw of pairs serves as both.
    """

    def __init__(self, *, grid, num_regions, num_points, resolution, paired=False):
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
    def sample(self, first, second, pairs=False):
        """
        Args:
            first, second: :class:`~dense_ssl.structures.Views` of the same images.
            pairs: whether to draw pairs as well.

        Returns:
            :class:`RegionSample`.
        """
        views = (first, second)
        image_size = _image_size(views)
        centres = [cell_centres(x, self._cells(x)) for x in views]
        maps = [self._region_map(x, c, image_size) for x, c in zip(views, centres)]
        shared = _in_both_views(views, centres, maps) if self.paired or pairs else None
        if self.paired:
            maps = shared
        visible = _have_a_cell(maps, self._number(first))
        drawn = region_ops.draw_regions(visible, uniform(first.seeds, (self.num_regions,), 1))
        if self.paired:
            points, pairs = self._draw_pairs(views, 2, centres[0], maps[0], drawn), None
        else:
            points = self._draw_points(first, (2, 3), centres, maps, drawn)
            if pairs:
                there = _have_a_cell(shared, self._number(first)).gather(1, drawn.clamp(min=0))
                in_both = torch.where(there, drawn, -1)
                pairs = self._draw_pairs(views, 4, centres[0], shared[0], in_both)
        return RegionSample(drawn, visible, maps, points, pairs or None)

    def _draw_points(self, first, streams, centres, maps, drawn):
        """Points of each view on its own; the seeds are those of ``first`` in both."""
        xy = [self._draw(first, *x, drawn) for x in zip(streams, centres, maps)]
        return PointSet(xy, self._of_each_point(drawn))

    def _draw_pairs(self, views, stream, centres, region_map, drawn):
        """Cell centres of the first view, and the same places of the image in the second."""
        first, second = views
        here = self._draw(first, stream, centres, region_map, drawn)
        there = second.to_view(first.to_image(here))
        return PointSet([here, there], self._of_each_point(drawn))

    def _draw(self, first, stream, centres, region_map, drawn):
        """(N, S * P, 2), P cell centres in each of the regions ``drawn``."""
        numbers = uniform(first.seeds, (self.num_regions, self.num_points), stream)
        cells = region_ops.draw_cells(region_map, drawn, numbers, self._number(first))
        return centres.gather(1, cells[..., None].expand(-1, -1, 2))

    def _of_each_point(self, drawn):
        """(N, S) -> (N, S * P)."""
        return drawn.repeat_interleave(self.num_points, dim=1)

    def _number(self, view):
        """M, as many regions as an image may have."""
        return self.grid**2 if view.regions is None else NO_REGION

    def _cells(self, view):
        return (self.resolution,) * 2 if view.regions is None else view.regions.shape[1:]

    def _region_map(self, view, centres, image_size):
        if view.regions is None:
            return region_ops.grid_regions(view.to_image(centres), image_size, self.grid)
        regions = view.regions.flatten(1).long()
        return torch.where(regions == NO_REGION, -1, regions)


def _in_both_views(views, centres, maps):
    """The region maps, -1 where the other view does not show a cell's centre."""
    return [
        torch.where(b.shows(b.to_view(a.to_image(c))), m, -1)
        for a, b, c, m in zip(views, views[::-1], centres, maps)
    ]


def _have_a_cell(maps, number):
    """(N, ``number``) bool, regions with a cell in both maps.

    A sliver of a region may hold a cell's centre in one view and none in the other.
    """
    counts = [region_ops.count_cells(x, number) for x in maps]
    return (counts[0] > 0) & (counts[1] > 0)


def _image_size(views):
    """(N, 2); where it is not known, as far as the views reach."""
    if views[0].image_size is not None:
        return views[0].image_size
    return torch.stack([x.footprint()[:, 2:] for x in views]).amax(dim=0)
