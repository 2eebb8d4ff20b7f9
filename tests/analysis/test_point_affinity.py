"""Affinities of points: Jaccard 1 on rectangles, thresholds by hand, masks of all kinds of data."""

import numpy as np
import pytest
import torch
from dataset_files import make_labels
from detectron2.data import MetadataCatalog
from detectron2.structures import BoxMode
from oracle_maps import GivenSamples, OracleMaps, random_features, rectangle_image

from dense_ssl.analysis.masks import object_masks
from dense_ssl.analysis.point_affinity import (
    PointAffinity,
    enlarged,
    jaccard,
    kept,
    object_point,
    point_affinity,
)

SIZE = (128, 192)  # height, width
BOX = (48, 32, 144, 96)


def samples(box=BOX, count=1):
    found = GivenSamples([(rectangle_image(SIZE, box), [box])] * count)
    x1, y1, x2, y2 = box
    polygon = [x1, y1, x2, y1, x2, y2, x1, y2]
    for item, _, _ in list.__iter__(found):
        item["annotations"][0]["segmentation"] = [polygon]
    return found


def measure(maps, found, **options):
    options = {"side": 128, "upsample": 1, **options}
    return PointAffinity(**options).measure(maps, found).numbers


def test_a_rectangle_of_one_colour_is_found_exactly():
    maps = OracleMaps(lambda x: x, 8, "res5")
    assert measure(maps, samples()) == {"level": "res5", "jaccard": 100.0, "objects": 1}
    # enlarged by interpolation, the border is uncertain by half a cell
    blurred = measure(maps, samples(), upsample=2)["jaccard"]
    assert 70 < blurred < 100


@pytest.mark.parametrize("fault", [lambda x: x.transpose(1, 2), lambda x: x.roll(2, dims=2)])
def test_a_fault_of_the_geometry_shows(fault):
    maps = OracleMaps(fault, 8, "res5")
    assert measure(maps, samples((48, 16, 144, 80)))["jaccard"] < 80


def test_random_features_score_what_a_random_mask_does():
    maps = OracleMaps(random_features(64), 8, "res5")
    found = measure(maps, samples(count=20), images=20)["jaccard"]
    # the mask covers a quarter; most cells are kept, whether in it or not
    assert found == pytest.approx(20, abs=6)


def test_the_threshold_keeps_a_share_of_the_mass():
    values = np.array([[1.0, 0.5], [0.3, 0.0]])  # the sum is 1.8; 80 % of it 1.44
    assert kept(values, "mass", 0.8).tolist() == [[True, True], [False, False]]
    assert kept(values, "mass", 0.85).tolist() == [[True, True], [True, False]]
    assert kept(values - 7, "mass", 0.8).tolist() == [[True, True], [False, False]]
    assert kept(values, "area", 0.5).tolist() == [[True, True], [False, False]]
    assert kept(values, "area", 0.75).tolist() == [[True, True], [True, False]]


def test_equal_cells_are_kept_together():
    values = np.array([[1.0, 1.0, 1.0, 0.0]])
    assert kept(values, "mass", 0.5).tolist() == [[True, True, True, False]]
    assert kept(np.ones((2, 2)), "mass", 0.8).all()


def test_jaccard_is_that_of_pixels():
    mask = np.zeros((4, 8), bool)
    mask[:2, :4] = True
    assert jaccard(np.array([[True, False], [False, False]]), mask) == 1
    assert jaccard(np.array([[True, True], [False, False]]), mask) == 0.5
    assert jaccard(np.array([[False, False], [False, True]]), mask) == 0


def test_the_point_of_an_object():
    mask = np.zeros((10, 20), bool)
    mask[2:8, 4:6] = mask[6:8, 4:16] = True  # an L; its box is 4..16, 2..8
    assert object_point(mask, "box") == (10 / 20, 5 / 10)
    x, y = object_point(mask, "mask")
    assert mask[int(y * 10), int(x * 20)] and not mask[5, 10]


def test_affinity_is_the_cosine_with_the_cell_of_the_point():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(5, 3, 4, generator=generator)
    found = point_affinity(features, np.array([[0.99, 0.0], [0.3, 0.5]]))
    for values, (row, column) in zip(found, [(0, 3), (1, 1)]):
        point = features[:, row, column]
        for i in range(3):
            for j in range(4):
                cell = features[:, i, j]
                cosine = float(point @ cell / (point.norm() * cell.norm()))
                assert float(values[i, j]) == pytest.approx(cosine, abs=1e-6)


def test_maps_are_enlarged_about_the_centres_of_their_cells():
    features = torch.arange(4.0).view(1, 1, 1, 4)
    expected = [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]
    assert enlarged(features, 2)[0, 0, 0].tolist() == expected


@pytest.mark.parametrize("text", ["0.5", "a,b", "0.5,1.5"])
def test_points_must_be_in_the_image(text):
    with pytest.raises(ValueError, match="--points"):
        measure(OracleMaps(lambda x: x, 8, "res5"), samples(), points=text)


def test_chosen_points_need_no_labels():
    analysis = PointAffinity(side=128, upsample=1, points="0.5,0.5 0.0,0.99", pictures=2)
    assert analysis.needs == "images" and PointAffinity().needs == "masks"
    found = GivenSamples([(rectangle_image(SIZE, BOX), None)] * 3)
    outcome = analysis.measure(OracleMaps(lambda x: x, 8, "res5"), found)
    assert outcome.numbers == {"level": "res5"}
    assert [x[1] for x in outcome.drawn] == [(0.5, 0.5), (0.0, 0.99)] * 2
    inside, outside = (x[2] for x in outcome.drawn[:2])
    # 16 x 16 cells of a square; the rectangle is a quarter to three quarters of each side
    expected = np.zeros((16, 16), bool)
    expected[4:12, 4:12] = True
    assert np.array_equal(inside > 0.5, expected) and np.array_equal(outside > 0.5, ~expected)


def test_masks_of_polygons_without_crowds():
    base = {"bbox": [2, 3, 6, 4], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
    polygon = {**base, "segmentation": [[2, 3, 8, 3, 8, 7, 2, 7]]}
    item = {"annotations": [polygon, {**polygon, "iscrowd": 1}, base]}
    (mask,) = object_masks(item, (10, 12), {})
    assert mask.shape == (10, 12) and mask.sum() == 24 and mask[3:7, 2:8].all()
    assert object_masks({"annotations": [base]}, (10, 12), {}) == []


def test_masks_of_label_maps(tmp_path):
    values = np.array([[0, 1, 1], [2, 255, 7]])
    make_labels(tmp_path / "a.png", values)
    item = {"sem_seg_file_name": str(tmp_path / "a.png")}
    voc, other = (MetadataCatalog.get(f"test_masks_{x}") for x in range(2))
    voc.set(stuff_classes=["background", "cat"], ignored_values=[255])
    other.set(stuff_classes=["sky", "road"], ignored_values=[7, 255])
    masks = object_masks(item, (2, 3), voc)
    assert [np.argwhere(x).tolist() for x in masks] == [[[0, 1], [0, 2]], [[1, 0]], [[1, 2]]]
    masks = object_masks(item, (2, 3), other)
    assert [np.argwhere(x).tolist() for x in masks] == [[[0, 0]], [[0, 1], [0, 2]], [[1, 0]]]
    for meta in (voc, other):
        MetadataCatalog.remove(meta.name)
