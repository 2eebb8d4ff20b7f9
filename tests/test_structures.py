import numpy as np
import pytest
import torch

from dense_ssl.data.views.crops import crop_affine, draw_crop, overlap_in_view
from dense_ssl.structures import Views


def random_views(count, size, seed, width=500, height=375, scale=(0.08, 1.0)):
    rng = np.random.default_rng(seed)
    crops = [draw_crop(rng, width, height, scale, (3 / 4, 4 / 3)) for _ in range(count)]
    flips = rng.random(count) < 0.5
    affine = np.stack([crop_affine(c, size, f) for c, f in zip(crops, flips)])
    return Views(torch.zeros(count, 3, size, size), torch.from_numpy(affine)), crops, flips


def test_round_trips_over_thousands_of_crops():
    views, _, _ = random_views(5000, 224, seed=0)
    points = torch.rand(5000, 7, 2, dtype=torch.float64) * 400
    assert torch.allclose(views.to_image(views.to_view(points)), points, atol=1e-9)
    corner = torch.rand(5000, 4, 2, dtype=torch.float64) * 200
    boxes = torch.cat([corner, corner + torch.rand(5000, 4, 2, dtype=torch.float64) * 100], -1)
    mapped = views.boxes_to_view(boxes)
    assert (mapped[..., 2:] >= mapped[..., :2]).all()
    assert torch.allclose(views.boxes_to_image(mapped), boxes, atol=1e-9)


def test_float32_is_exact_to_its_precision():
    views, _, _ = random_views(2000, 224, seed=1)
    single = Views(views.images, views.affine.float())
    points = torch.rand(2000, 5, 2, dtype=torch.float64) * 375
    error = (single.to_view(points.float()).double() - views.to_view(points)).abs()
    # a coordinate far outside of a strongly zoomed view is large; so is its last bit
    assert (error / (1 + views.to_view(points).abs())).max() < 1e-4


def test_footprint_is_the_crop():
    views, crops, _ = random_views(3000, 96, seed=2)
    expected = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in crops], dtype=torch.float64)
    assert torch.allclose(views.footprint(), expected, atol=1e-9)


def test_crop_corners_land_on_view_corners():
    views, crops, flips = random_views(1000, 64, seed=3)
    corners = torch.tensor([[[x, y], [x + w, y + h]] for x, y, w, h in crops], dtype=torch.float64)
    mapped = views.to_view(corners)
    flips = torch.from_numpy(flips)
    left = torch.where(flips, 64.0, 0.0).double()
    assert torch.allclose(mapped[:, 0], torch.stack([left, torch.zeros_like(left)], 1), atol=1e-9)
    assert torch.allclose(mapped[:, 1, 0], 64 - left, atol=1e-9)
    assert torch.allclose(mapped[:, 1, 1], torch.full_like(left, 64), atol=1e-9)


def test_overlap_is_symmetric_and_agrees_with_the_crops():
    first, crops_a, _ = random_views(2000, 224, seed=4)
    second, crops_b, _ = random_views(2000, 112, seed=5)
    region = first.overlap(second)
    assert torch.allclose(region, second.overlap(first), atol=1e-9)
    for row, a, b in zip(region.tolist(), crops_a, crops_b):
        assert row[0] == pytest.approx(max(a[0], b[0]))
        assert row[3] == pytest.approx(min(a[1] + a[3], b[1] + b[3]))
        zoom = [min(224 / a[2 + i], 112 / b[2 + i]) for i in (0, 1)]
        sides = [(row[2 + i] - row[i]) * zoom[i] for i in (0, 1)]
        assert overlap_in_view(a, b, 224, 112) == pytest.approx(min(sides))
    assert (region[:, 2:] <= region[:, :2]).any(dim=1).sum() > 10  # some pairs are disjoint


def test_a_box_is_the_same_thing_in_both_views_whatever_the_flips():
    first, _, _ = random_views(500, 224, seed=6)
    second, _, _ = random_views(500, 224, seed=7)
    corner = torch.rand(500, 3, 2, dtype=torch.float64) * 200
    boxes = torch.cat([corner, corner + 50], -1)
    back = second.boxes_to_image(
        second.boxes_to_view(first.boxes_to_image(first.boxes_to_view(boxes)))
    )
    assert torch.allclose(back, boxes, atol=1e-9)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="affine"):
        Views(torch.zeros(2, 3, 8, 8), torch.zeros(3, 4))


def test_empty_batch():
    views = Views(torch.zeros(0, 3, 8, 8), torch.zeros(0, 4))
    assert views.footprint().shape == (0, 4)
    assert views.boxes_to_view(torch.zeros(0, 5, 4)).shape == (0, 5, 4)
