"""Keypoints of COCO json files: what is read, what is corrected, what is refused."""

import logging

import pytest
import torch
from dataset_files import make_cfg, make_coco
from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, Instances

from dense_ssl.data.finetune.detection_mapper import DetectionMapper
from dense_ssl.data.finetune.label_space import resolve_labels
from dense_ssl.data.sources.check import check_labels
from dense_ssl.data.sources.coco_keypoints import clean_keypoints, fields_of_keypoints
from dense_ssl.data.sources.entries import register_datasets, resolve_dataset
from dense_ssl.evaluation.build import build_evaluator

pytestmark = pytest.mark.usefixtures("restore_catalogs")

NAMES = ["nose", "left_eye", "right_eye"]
POINTS = [3, 4, 2, 5, 4, 1, 0, 0, 0]
PLAIN = {"image_id": 1, "category_id": 7, "bbox": [1, 2, 10, 8], "area": 80, "iscrowd": 0}
WHOLE = {"keypoints": POINTS, "num_keypoints": 2}


def make_points(folder, *changes, names=NAMES):
    category = {"id": 7, "name": "cat", "keypoints": names}
    annotations = [{"id": i, **PLAIN, **x} for i, x in enumerate(changes, start=1)]
    return make_coco(folder, annotations=annotations, categories=[category])


def make_config(entry, is_on=True):
    cfg = make_cfg((entry,), (entry,), KEYPOINT_ON=is_on)
    cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.TEST.KEYPOINT_OKS_SIGMAS = [0.05] * len(NAMES)
    register_datasets(cfg)
    return cfg


@pytest.mark.parametrize("points", [None, [], POINTS, [0.5] * 2 + [2.0] + [0] * 6])
def test_what_all_readers_take_stays(points):
    assert clean_keypoints(points, len(NAMES)) == (points or None)


@pytest.mark.parametrize("points, part", [
    (POINTS[:-1], "are 8 numbers; they must be 3 for each"),
    (POINTS[:6], "its class has 3 points: 9."),
    ([1.0, 2.0, float("nan")] * 3, "have NaN"),
    ([1, 2, float("inf")] * 3, "have NaN or infinite"),
    ([1, 2, 10**400] * 3, "must be numbers"),
    ([1, 2, None] * 3, "must be numbers"),
    ([[1, 2, 2]] * 3, "must be numbers"),
    (["1", "2", "2"] * 3, "must be numbers"),
    ({"nose": [1, 2, 2]}, "must be a list of numbers"),
    ("1 2 2", "must be a list of numbers"),
    (5, "must be a list of numbers"),
    ([1, 2, 3] * 3, "have the visibility 3;"),
    ([1, 2, 0.9] * 3, "have the visibility 0.9;"),
    ([1, 2, -1] * 3, "have the visibility -1;"),
])  # fmt: skip
def test_what_is_no_keypoint_says_why(points, part):
    with pytest.raises(ValueError) as found:
        clean_keypoints(points, len(NAMES))
    assert part in str(found.value)


def test_the_number_of_a_class_that_names_none_is_free():
    assert clean_keypoints(POINTS[:6], 0) == POINTS[:6]
    with pytest.raises(ValueError, match="are 4 numbers; they must be 3 for each point .*y, v"):
        clean_keypoints([1, 2, 2, 1], 0)
    assert fields_of_keypoints(None, 0) == {}


@pytest.mark.parametrize("second", [{}, {"keypoints": []}, {"keypoints": None}])
@pytest.mark.parametrize("order", [1, -1])
def test_objects_without_keypoints_are_trained_beside_others(tmp_path, second, order, caplog):
    cfg = make_config(make_points(tmp_path, *[WHOLE, second][::order]))
    with caplog.at_level(logging.WARNING):
        resolve_labels(cfg)
    assert "1 of 2 objects have no keypoints, first annotation" in caplog.text
    item = DatasetCatalog.get(cfg.DATASETS.TRAIN[0])[0]
    found = DetectionMapper(cfg, is_train=True)(item)["instances"].gt_keypoints.tensor
    assert found.shape == (2, 3, 3)
    labelled = (found[:, :, 2] > 0).sum(dim=1).tolist()
    assert labelled == [2, 0][::order]


@pytest.mark.parametrize("number", [None, 0, 3])
def test_the_labelled_points_are_counted_anew(tmp_path, number, caplog):
    change = {k: x for k, x in {**WHOLE, "num_keypoints": number}.items() if x is not None}
    cfg = make_config(make_points(tmp_path, WHOLE, change))
    with caplog.at_level(logging.WARNING):
        resolve_labels(cfg)
    assert ("num_keypoints of 1 of 2 objects is not the number of labelled points, first "
            "annotation 2: counted anew") in caplog.text  # fmt: skip
    assert perfect_score(cfg, tmp_path) == pytest.approx(100)


def perfect_score(cfg, tmp_path):
    """AP of keypoints where exactly the labels that the loader read are predicted."""
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    name = cfg.DATASETS.TEST[0]
    evaluator = build_evaluator(cfg, name)
    evaluator.reset()
    for item in DatasetCatalog.get(name):
        objects = item["annotations"]
        boxes = torch.tensor([x["bbox"] for x in objects]).view(-1, 4).float()
        boxes[:, 2:] += boxes[:, :2]
        found = Instances((item["height"], item["width"]))
        found.pred_boxes, found.scores = Boxes(boxes), torch.ones(len(boxes))
        found.pred_classes = torch.zeros(len(boxes), dtype=torch.long)
        points = torch.tensor([x["keypoints"] for x in objects], dtype=torch.float32)
        found.pred_keypoints = points.view(len(boxes), len(NAMES), 3)
        evaluator.process([item], [{"instances": found}])
    return evaluator.evaluate()["keypoints"]["AP"]


def test_damaged_keypoints_stop_models_with_keypoints_alone(tmp_path):
    entry = make_points(tmp_path, WHOLE, {"keypoints": [1, None, 2] * 3})
    cfg = make_config(entry)
    with pytest.raises(ValueError, match="the keypoints of annotation 2 are .1, None"):
        resolve_labels(cfg)
    cfg.MODEL.KEYPOINT_ON = False
    resolve_labels(cfg)
    found = DatasetCatalog.get(cfg.DATASETS.TRAIN[0])[0]["annotations"]
    assert len(found) == 2 and "keypoints" not in found[1]


def test_points_outside_of_the_image(tmp_path):
    entry = make_points(tmp_path, {**WHOLE, "keypoints": [5000, 4, 2, *POINTS[3:]]}, WHOLE)
    check = check_labels(resolve_dataset(entry))
    assert check.keypoint_notes == [
        "1 of 2 objects have labelled keypoints outside of their image, first annotation 1"
    ]
    assert check.counts["with keypoints"] == 2 and check.notes == []


def test_a_whole_file_is_read_as_it_is(tmp_path):
    check = check_labels(resolve_dataset(make_points(tmp_path, WHOLE, WHOLE)))
    assert not check.rewrite and not check.keypoint_notes and not check.keypoint_error


@pytest.mark.parametrize("with_objects", [False, True])
def test_a_category_without_objects_needs_no_keypoints(tmp_path, with_objects):
    person = {"id": 7, "name": "person", "keypoints": ["nose"], "skeleton": []}
    box = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 10, 8], "area": 80,
           "iscrowd": 0, "keypoints": [4, 5, 2], "num_keypoints": 1}  # fmt: skip
    other = {k: x for k, x in box.items() if "keypoints" not in k}
    annotations = [box, {**other, "id": 2, "category_id": 0}] if with_objects else [box]
    entry = make_coco(
        tmp_path, categories=[{"id": 0, "name": "my-project"}, person], annotations=annotations
    )
    cfg = make_cfg((resolve_dataset(entry),), KEYPOINT_ON=True)
    if with_objects:
        with pytest.raises(ValueError, match="in each category with objects"):
            resolve_labels(cfg)
    else:
        resolve_labels(cfg)
        assert cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS == 1
