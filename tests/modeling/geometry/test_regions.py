"""Regions and points of two views: geometry, uniformity, edge cases."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dense_ssl.data.views.crops import crop_affine, draw_crop
from dense_ssl.modeling.geometry import regions as region_ops
from dense_ssl.modeling.geometry.cells import cell_centres
from dense_ssl.modeling.geometry.points import mean_over_regions, read_points
from dense_ssl.modeling.geometry.random_numbers import uniform
from dense_ssl.modeling.geometry.region_sampling import RegionSampler
from dense_ssl.structures import Views

WIDTH, HEIGHT, SIDE = 200, 150, 64


def make_views(count=40, seed=0, scale=(0.2, 1.0), **more):
    rng = np.random.default_rng(seed)
    size = torch.tensor([[WIDTH, HEIGHT]] * count)
    result = []
    for v in range(2):
        rows = [
            crop_affine(
                draw_crop(rng, WIDTH, HEIGHT, scale, (3 / 4, 4 / 3)), SIDE, i % (v + 2) == 0
            )
            for i in range(count)
        ]
        result.append(
            Views(torch.zeros(count, 3, SIDE, SIDE), torch.from_numpy(np.stack(rows)),
                  torch.arange(count), size, **more)
        )  # fmt: skip
    return result


def sampler(**options):
    defaults = {"grid": 4, "num_regions": 6, "num_points": 5, "resolution": 16, "paired": True}
    return RegionSampler(**{**defaults, **options})


def region_of(x, y, grid):
    return int(y * grid // HEIGHT) * grid + int(x * grid // WIDTH)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("grid", [2, 4])
def test_every_point_lies_in_its_region_in_both_views(paired, grid):
    views = make_views()
    sample = sampler(paired=paired, grid=grid).sample(*views)
    for view, points in zip(views, sample.points.xy):
        on_image = view.to_image(points)
        for row in range(len(view)):
            for (x, y), (u, v), region in zip(
                on_image[row].tolist(), points[row].tolist(), sample.points.regions[row].tolist()
            ):
                if region >= 0:
                    assert region_of(x, y, grid) == region
                    assert -1e-6 <= u <= SIDE + 1e-6 and -1e-6 <= v <= SIDE + 1e-6
    assert (sample.drawn >= 0).float().mean() > 0.9


def in_image(views, points):
    return [view.to_image(xy) for view, xy in zip(views, points.xy)]


@pytest.mark.parametrize("paired", [True, False])
def test_pairs_are_the_same_place_of_the_image(paired):
    views = make_views()
    sample = sampler(paired=paired).sample(*views, pairs=True)
    pairs = sample.points if paired else sample.pairs
    a, b = (x[pairs.regions >= 0] for x in in_image(views, pairs))
    assert (a - b).abs().max() < 1e-9 and len(a) > 900
    inside = torch.stack([x.footprint() for x in views])  # (2, N, 4)
    low, high = inside[..., :2].amax(0)[:, None], inside[..., 2:].amin(0)[:, None]
    place = in_image(views, pairs)[0]
    shown = ((place >= low - 1e-9) & (place <= high + 1e-9)).all(dim=2)
    assert shown[pairs.regions >= 0].all()
    assert (sample.pairs is None) == paired


def test_each_view_draws_points_of_its_own_from_all_that_it_shows():
    views = make_views(count=200)
    sample = sampler(paired=False).sample(*views)
    assert sample.pairs is None
    there = sample.points.regions >= 0
    a, b = (x[there] for x in in_image(views, sample.points))
    assert ((a - b).norm(dim=1) > 1e-9).all()
    for v in (0, 1):  # outside of the overlap as well
        other = views[1 - v]
        shown = other.shows(other.to_view(in_image(views, sample.points)[v]))[there]
        assert 0.5 < shown.float().mean() < 0.95
    # in one and the same view they meet by chance alone
    whole = sampler(paired=False, grid=1, num_points=400).sample(views[0], views[0])
    cells = [(xy / SIDE * 16).long() for xy in whole.points.xy]
    same = (cells[0] == cells[1]).all(dim=2).float().mean()
    assert same.item() == pytest.approx(1 / 256, abs=5e-4)


def test_asking_for_pairs_changes_no_other_draw():
    views = make_views()
    a, b = (sampler(paired=False).sample(*views, pairs=x) for x in (False, True))
    assert torch.equal(a.drawn, b.drawn)
    assert all(torch.equal(x, y) for x, y in zip(a.points.xy, b.points.xy))
    pairs = b.pairs.regions
    assert torch.equal(pairs[pairs >= 0], b.points.regions[pairs >= 0])


def test_a_region_of_which_the_views_share_no_place_has_points_and_no_pairs():
    first, second = make_views(3)
    first.affine[:] = torch.tensor([1.0, 0, 1.0, 0])  # 64 x 64 pixels, from x = 0
    second.affine[:] = torch.tensor([1.0, -64, 1.0, 0])  # from x = 64
    second.affine[1] = torch.tensor([1.0, -32, 1.0, 0])  # from x = 32: half of it
    sample = sampler(paired=False, grid=1).sample(first, second, pairs=True)
    assert (sample.points.regions == 0).all()
    assert (sample.pairs.regions[[0, 2]] == -1).all() and (sample.pairs.regions[1] == 0).all()
    assert all(torch.isfinite(x).all() for x in sample.pairs.xy)
    x = first.to_image(sample.pairs.xy[0])[1, :, 0]
    assert 32 <= x.min() < 36 and 60 < x.max() <= 64


def test_identity_views_give_identical_points():
    view = make_views()[0]
    sample = sampler().sample(view, view)
    assert torch.allclose(sample.points.xy[0], sample.points.xy[1], atol=1e-9)
    assert (sample.drawn >= 0).all()


def test_flipping_a_view_moves_its_points_and_nothing_else():
    first, second = make_views()
    mirrored = second.affine.clone()
    mirrored[:, 0], mirrored[:, 1] = -mirrored[:, 0], SIDE - mirrored[:, 1]
    flipped = Views(second.images, mirrored, second.seeds, second.image_size)
    a, b = sampler().sample(first, second), sampler().sample(first, flipped)
    assert torch.equal(a.drawn, b.drawn) and torch.equal(a.points.xy[0], b.points.xy[0])
    expected = a.points.xy[1].clone()
    expected[..., 0] = SIDE - expected[..., 0]
    assert torch.allclose(b.points.xy[1], expected, atol=1e-9)


def test_views_without_a_common_region():
    first, second = make_views(3)
    first.affine[:] = torch.tensor([4.0, 0, 4.0, 0])  # the upper left 16 x 16 pixels
    second.affine[:] = torch.tensor([4.0, -700, 4.0, -500])  # far right, below
    for paired in (True, False):
        sample = sampler(paired=paired).sample(first, second)
        assert (sample.drawn == -1).all() and (sample.points.regions == -1).all()
        assert all(torch.isfinite(x).all() for x in sample.points.xy)


@pytest.mark.parametrize("paired", [True, False])
def test_a_region_of_which_one_view_shows_a_sliver_is_not_drawn(paired):
    slivers = 0
    first, second = make_views(count=400, seed=5)
    for i in range(len(first)):  # alone, so that no other image shows the region either
        alone = [Views(x.images[:1], x.affine[i:][:1], x.seeds[i:][:1], x.image_size[:1])
                 for x in (first, second)]  # fmt: skip
        sample = sampler(resolution=16, paired=paired).sample(*alone)
        shown = [set(x[0].tolist()) for x in sample.region_maps]
        slivers += max(shown[0], default=-1) > max(shown[1], default=-1)
        assert set(sample.drawn[0].tolist()) - {-1} <= shown[0] & shown[1]
    assert slivers > 3


def test_samples_depend_on_the_seed_of_an_image_alone():
    first, second = make_views(6)
    whole = sampler().sample(first, second)
    part = [Views(x.images[2:4], x.affine[2:4], x.seeds[2:4], x.image_size[2:4])
            for x in (first, second)]  # fmt: skip
    half = sampler().sample(*part)
    assert torch.equal(whole.drawn[2:4], half.drawn)
    assert torch.equal(whole.points.xy[0][2:4], half.points.xy[0])


def test_without_image_sizes_the_grid_spans_what_the_views_show():
    first, second = make_views(8)
    bare = [Views(x.images, x.affine, x.seeds) for x in (first, second)]
    sample = sampler(grid=2).sample(*bare)
    reach = torch.stack([x.footprint()[:, 2:] for x in bare]).amax(dim=0)
    points = bare[0].to_image(sample.points.xy[0])
    expected = region_ops.grid_regions(points, reach, 2)
    there = sample.points.regions >= 0
    assert torch.equal(expected[there], sample.points.regions[there])


def test_regions_of_the_data_replace_the_grid():
    regions = torch.full((4, 8, 8), 255, dtype=torch.uint8)
    regions[:, :4], regions[:, 4:, :3] = 7, 2
    view = make_views(4, regions=regions)[0]
    sample = sampler().sample(view, view)
    assert set(sample.drawn.unique().tolist()) == {2, 7}
    cells = (sample.points.xy[0] / SIDE * 8).long()
    read = regions[torch.arange(4)[:, None], cells[..., 1], cells[..., 0]]
    assert torch.equal(read.long(), sample.points.regions)


def test_regions_and_cells_are_drawn_uniformly():
    visible = torch.tensor([[False, True, False, True, True]]).expand(6000, 5)
    drawn = region_ops.draw_regions(visible, uniform(torch.arange(6000), (1,)))
    share = torch.bincount(drawn.flatten(), minlength=5) / 6000
    assert share.tolist() == pytest.approx([0, 1 / 3, 0, 1 / 3, 1 / 3], abs=0.02)
    regions = torch.tensor([[0, 2, -1, 2, 0, 2, 1, -1]]).expand(6000, 8)
    cells = region_ops.draw_cells(
        regions, torch.full((6000, 1), 2), uniform(torch.arange(6000), (1, 1)), 3
    )
    share = torch.bincount(cells.flatten(), minlength=8) / 6000
    assert share.tolist() == pytest.approx([0, 1 / 3, 0, 1 / 3, 0, 1 / 3, 0, 0], abs=0.02)


def test_counting_cells():
    regions = torch.tensor([[0, 2, -1, 2], [-1, -1, -1, -1]])
    assert region_ops.count_cells(regions, 3).tolist() == [[1, 0, 2], [0, 0, 0]]


def test_reading_points_is_reading_the_enlarged_map():
    features = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    size, resolution = (32, 40), 16
    affine = torch.tensor([[1.0, 0.0, 1.0, 0.0]] * 2, dtype=torch.float64)
    centres = cell_centres(Views(torch.zeros(2, 3, *size), affine), (resolution, resolution))
    read = read_points(features, centres, size)
    enlarged = F.interpolate(features, (resolution, resolution), mode="bilinear")
    assert torch.allclose(read, enlarged.flatten(2).transpose(1, 2), atol=1e-12)


def test_mean_over_regions_is_the_mean_of_the_enlarged_map():
    features = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    regions = torch.randint(-1, 4, (2, 64))
    drawn = torch.tensor([[0, 3, 3], [1, -1, 2]])
    got = mean_over_regions(features, regions, drawn)
    enlarged = F.interpolate(features, (8, 8), mode="bilinear").flatten(2)
    for row in range(2):
        for k, region in enumerate(drawn[row].tolist()):
            inside = enlarged[row, :, regions[row] == region]
            expected = inside.mean(dim=1) if region >= 0 else torch.zeros(3).double()
            assert torch.allclose(got[row, k], expected, atol=1e-12)


def test_gradients_of_reading():
    features = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    points = torch.tensor([[[3.0, 5.0], [11.9, 0.1]]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: read_points(x, points, (12, 12)), (features,))
    regions, drawn = torch.randint(0, 2, (1, 16)), torch.tensor([[0, 1]])
    assert torch.autograd.gradcheck(lambda x: mean_over_regions(x, regions, drawn), (features,))
