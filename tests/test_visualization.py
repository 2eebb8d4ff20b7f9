"""Pictures of matched boxes, and of regions and their points."""

import numpy as np
import pytest
import torch
from helpers import CONFIGS
from matplotlib import colormaps
from PIL import Image

from dense_ssl.config import load_config
from dense_ssl.modeling.geometry.boxes import pairwise_iou
from dense_ssl.modeling.geometry.region_sampling import PointSet, RegionSample
from dense_ssl.reports.overview import MAX_IOU, choose_views, draw_overview
from dense_ssl.visualization.matches import draw_matches
from dense_ssl.visualization.regions import draw_regions

PALETTE = [tuple(int(255 * x) for x in colour) for colour in colormaps["tab10"].colors]
GREY, MARGIN = 90, 4


def blank(count=1, height=64, width=64):
    return torch.full((count, 3, height, width), float(GREY))


def coloured(picture, colour):
    """(height, width) bool: where a picture (3, height, width) has a colour."""
    return (picture == np.array(colour)[:, None, None]).all(0)


def extent(mask):
    """(x1, y1, x2, y2) of the true cells in edge coordinates."""
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def test_a_box_has_one_colour_in_both_views_and_its_place():
    first = torch.tensor([[[2.0, 3, 20, 30], [30, 30, 60, 62], [40, 5, 50, 15]]])
    second = torch.tensor([[[10.0, 10, 40, 20], [5, 25, 25, 60], [50, 30, 64, 64]]])
    picture = draw_matches([blank(), blank()], {0: first, 1: second})
    for view, boxes in enumerate((first, second)):
        start = view * (64 + MARGIN)
        part = picture[:, :64, start : start + 64]
        for k, box in enumerate(boxes[0].tolist()):
            assert extent(coloured(part, PALETTE[k])) == pytest.approx(box)
        used = {tuple(x) for x in part.reshape(3, -1).T.tolist()}
        assert used == {(GREY,) * 3, *PALETTE[:3]}


def test_only_outlines_are_drawn():
    boxes = torch.tensor([[[10.0, 10, 40, 30]]])
    picture = draw_matches([blank()], {0: boxes})
    assert coloured(picture, PALETTE[0]).sum() == 2 * (30 + 20) - 4
    assert (picture[:, 20, 25] == GREY).all()


def test_more_than_ten_boxes_have_colours_of_their_own():
    boxes = torch.zeros(1, 49, 4)
    boxes[0, :, :2] = torch.stack(
        torch.meshgrid(*[9.0 * torch.arange(7)] * 2, indexing="ij"), 2
    ).view(-1, 2)
    boxes[0, :, 2:] = boxes[0, :, :2] + 8
    picture = draw_matches([blank(), blank()], {0: boxes, 1: boxes})
    corners = (boxes[0, :, :2]).long()
    first = [tuple(picture[:, y, x]) for x, y in corners.tolist()]
    second = [tuple(picture[:, y, x + 64 + MARGIN]) for x, y in corners.tolist()]
    assert first == second and len(set(first)) > 40


@pytest.mark.parametrize("boxes", [
    {}, {0: torch.zeros(1, 3, 4)}, {0: torch.zeros(1, 0, 4)},
    {0: torch.tensor([[[10.0, 10, 10, 30], [10, 10, 30, 10], [30, 10, 10, 30]]])},
])  # fmt: skip
def test_nothing_is_drawn_for_boxes_without_area(boxes):
    picture = draw_matches([blank(), blank()], boxes)
    assert np.array_equal(picture, draw_matches([blank(), blank()], {}))
    assert {tuple(x) for x in picture.reshape(3, -1).T.tolist()} == {(GREY,) * 3, (255,) * 3}


def test_small_boxes_leave_a_mark():
    boxes = torch.tensor([[[10.2, 10.2, 10.9, 10.9], [30.0, 30, 31, 31]]])
    picture = draw_matches([blank()], {0: boxes})
    assert coloured(picture, PALETTE[0]).any() and coloured(picture, PALETTE[1]).sum() == 1


def test_shape_type_and_layout():
    rng = np.random.default_rng(0)
    images = [
        torch.from_numpy(rng.integers(0, 256, (3, 3, *size)).astype(np.float32))
        for size in ((64, 64), (32, 48))
    ]
    picture = draw_matches(images, {})
    assert picture.dtype == np.uint8
    assert picture.shape == (3, 3 * (64 + MARGIN), 2 * (64 + MARGIN))
    for row in range(3):
        y = row * (64 + MARGIN)
        assert np.array_equal(picture[:, y : y + 64, :64], images[0][row].numpy())
        x = 64 + MARGIN
        assert np.array_equal(picture[:, y : y + 32, x : x + 48], images[1][row].numpy())
        assert (picture[:, y + 32 : y + 64 + MARGIN, x:] == 255).all()


def test_values_are_rounded_and_cut_off():
    image = torch.tensor([-3.0, 0.4, 99.6, 254.7, 300.0]).repeat(1, 3, 4, 1)
    assert draw_matches([image], {})[0, 0, :5].tolist() == [0, 0, 100, 255, 255]


def test_the_images_stay_as_they_are():
    images = [blank()]
    draw_matches(images, {0: torch.tensor([[[5.0, 5, 50, 50]]])})
    assert (images[0] == GREY).all()


def test_large_views_get_thick_lines():
    picture = draw_matches([blank(1, 256, 256)], {0: torch.tensor([[[50.0, 60, 150, 200]]])})
    line = coloured(picture, PALETTE[0])[130]
    assert 4 <= line.sum() <= 6  # both sides, each two or three wide


def test_dots_lie_at_points_and_crosses_at_one_pair_of_each_region():
    maps = [torch.full((1, 16), -1)] * 2  # no tint
    points = PointSet([torch.tensor([[[10.0, 10], [20, 10], [30, 10], [40, 10]]])] * 2,
                      torch.tensor([[0, 0, 3, 3]]))  # fmt: skip
    pairs = PointSet([torch.tensor([[[10.0, y], [20, y], [30, y], [40, y]]]) for y in (40, 50)],
                     torch.tensor([[0, 0, -1, -1]]))  # fmt: skip
    drawn = torch.tensor([[0, 3]])
    sample = RegionSample(drawn, torch.ones(1, 4, dtype=torch.bool), maps, points, pairs)
    picture = draw_regions([blank(), blank()], sample)
    palette = [tuple(int(255 * x) for x in colour) for colour in colormaps["tab20"].colors]
    for view, y in enumerate((40, 50)):
        part = picture[:, :64, view * (64 + MARGIN) :][:, :, :64]
        first, last = (coloured(part, palette[k]) for k in (0, 3))
        assert extent(last) == (29, 9, 42, 12)  # two dots of three pixels, and no pair
        assert extent(first[:30]) == (9, 9, 22, 12)
        assert extent(first[30:]) == (7, y - 33, 14, y - 26)  # the first pair of its region alone
        assert first[y, 7:14].all() and first[y - 3 : y + 4, 10].all()
        used = {tuple(x) for x in part.reshape(3, -1).T.tolist()}
        assert used == {(GREY,) * 3, (255,) * 3, palette[0], palette[3]}


def test_the_overview_shows_matching_boxes(tmp_path):
    """Boxes of the figure lie in both views, hardly overlap, and one view is flipped."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    small.resize((160, 120)).save(tmp_path / "photo.png")
    cfg = load_config(str(CONFIGS / "demo" / "scrl.yaml"))
    (first, second), boxes = choose_views(cfg, tmp_path / "photo.png")
    assert len(boxes) == 3
    assert pairwise_iou(boxes[None], boxes[None])[0].sum() <= 3 + 6 * MAX_IOU
    for view in (first, second):
        inside = view.boxes_to_view(boxes[None])[0]
        assert inside.min() > -0.01 and inside.max() < max(view.size) + 0.01
    assert (first.scale * second.scale)[0, 0] < 0
    draw_overview(cfg, tmp_path / "photo.png", {}, {}, tmp_path / "overview.png")
    picture = np.array(Image.open(tmp_path / "overview.png"))
    assert picture.std() > 20 and picture.shape[1] > 2 * picture.shape[0]
