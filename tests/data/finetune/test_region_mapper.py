"""Images as squares with their boxes, for RoI linear evaluation."""

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import BoxMode
from helpers import base_config

from dense_ssl.data.finetune import region_mapper
from dense_ssl.data.finetune.region_mapper import RegionMapper


def mapper_config(*options):
    pairs = ["MODEL.META_ARCHITECTURE", "RoIClassifier", "INPUT.FORMAT", "RGB",
             "INPUT.MIN_SIZE_TRAIN", (40,), "INPUT.MIN_SIZE_TEST", 40]  # fmt: skip
    return base_config(*pairs, *options)


def test_images_become_squares_with_their_boxes(tmp_path):
    image = np.zeros((20, 80, 3), np.uint8)
    image[:, 20:40, 0] = 255
    cv2.imwrite(str(tmp_path / "x.png"), image[:, :, ::-1])
    annotation = {"bbox": [20, 5, 20, 10], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 4}
    dataset_dict = {"file_name": str(tmp_path / "x.png"), "height": 20, "width": 80,
                    "image_id": 7, "annotations": [
                        annotation, {**annotation, "iscrowd": 1}, {**annotation, "difficult": 1},
                    ]}  # fmt: skip
    result = RegionMapper(mapper_config(), False)(dataset_dict)
    assert result["image"].shape == (3, 40, 40)
    assert result["instances"].gt_boxes.tensor.tolist() == [[10, 10, 20, 30]]
    assert result["instances"].gt_classes.tolist() == [4]
    assert result["image"][0, 20, 14] > 250 and result["image"][0, 20, 25] < 5
    assert "annotations" in dataset_dict  # of the catalog
    assert result["image_id"] == 7 and "annotations" not in result
    sides = set()
    for seed in range(8):
        np.random.seed(seed)
        flipped = RegionMapper(mapper_config(), True)(dataset_dict)
        (box,) = flipped["instances"].gt_boxes.tensor.tolist()
        sides.add(box[0])
        np.random.seed(seed)
        tested = RegionMapper(mapper_config(), False)(dataset_dict)
        assert tested["instances"].gt_boxes.tensor[0, 0] == 10
        assert flipped["image"][0, 20, int(box[0]) + 5] > 250
    assert sides == {10, 20}
    np.random.seed(0)
    off = RegionMapper(mapper_config("INPUT.RANDOM_FLIP", "none"), True)
    assert {off(dataset_dict)["instances"].gt_boxes.tensor[0, 0].item() for _ in range(8)} == {10}


def test_flips_may_be_vertical(tmp_path):
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((40, 40, 3), np.uint8))
    annotation = {"bbox": [0, 0, 10, 10], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    dataset_dict = {"file_name": str(tmp_path / "x.png"), "annotations": [annotation]}
    mapper, found = RegionMapper(mapper_config("INPUT.RANDOM_FLIP", "vertical"), True), set()
    for seed in range(8):
        np.random.seed(seed)
        found.add(tuple(mapper(dataset_dict)["instances"].gt_boxes.tensor[0].tolist()))
    assert found == {(0, 0, 10, 10), (0, 30, 10, 40)}


def test_several_sizes_are_refused():
    with pytest.raises(ValueError, match="INPUT.MIN_SIZE_TRAIN"):
        RegionMapper(mapper_config("INPUT.MIN_SIZE_TRAIN", (40, 50)), True)


@pytest.fixture
def photos(tmp_path):
    """Dicts of three photos of different sizes with a box each."""
    values, dicts = np.random.RandomState(0), []
    for index, (height, width) in enumerate([(30, 50), (64, 40), (40, 40)]):
        path = str(tmp_path / f"{index}.png")
        cv2.imwrite(path, values.randint(0, 255, (height, width, 3), np.uint8))
        box = {"bbox": [2, 3, 20, 25], "bbox_mode": BoxMode.XYXY_ABS, "category_id": index}
        dicts.append({"file_name": path, "annotations": [box]})
    return dicts


def epochs(mapper, dicts, count=4):
    np.random.seed(0)
    return [mapper(x) for _ in range(count) for x in dicts]


@pytest.mark.parametrize("image_format", ["RGB", "BGR", "L"])
def test_kept_squares_change_nothing(photos, image_format):
    cfg = mapper_config("INPUT.FORMAT", image_format)
    read, keeping = RegionMapper(cfg, True), RegionMapper(cfg, True)
    keeping.keep_squares(len(photos))
    expected = epochs(read, photos)
    for result in epochs(keeping, photos):
        other = expected.pop(0)
        assert torch.equal(result["image"], other["image"])
        boxes, others = (x["instances"].gt_boxes.tensor for x in (result, other))
        assert torch.equal(boxes, others)
        assert {k: x for k, x in result.items() if isinstance(x, (int, str))} == {
            k: x for k, x in other.items() if isinstance(x, (int, str))
        }
        result["image"].zero_()  # what is kept is not what is given away


def test_squares_are_read_once_if_all_of_them_fit(photos, monkeypatch):
    reads = []
    load = region_mapper.load_image
    monkeypatch.setattr(
        region_mapper, "load_image", lambda *x: reads.append(x[0]["file_name"]) or load(*x)
    )
    for workers, count, expected in [(0, 3, 3), (1, 3, 3), (2, 3, 12), (0, 4, 12)]:
        monkeypatch.setattr(region_mapper, "_KEPT_BYTES", 3 * 40 * 40 * 3)
        mapper = RegionMapper(mapper_config("DATALOADER.NUM_WORKERS", workers), True)
        mapper.keep_squares(count)
        reads.clear()
        epochs(mapper, photos)
        assert len(reads) == expected


def test_one_file_with_two_stated_sizes_is_still_refused(photos):
    mapper = RegionMapper(mapper_config(), True)
    mapper.keep_squares(2)
    mapper(photos[0])
    with pytest.raises(ValueError, match="Mismatched image shape"):
        mapper({**photos[0], "height": 31, "width": 50})
