"""COCO json files with the faults that tools leave in them."""

import json
import logging
import os
import re

import pytest
import torch
from dataset_files import make_cfg, make_coco
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from pycocotools.coco import COCO

from dense_ssl.data.finetune.label_space import resolve_labels
from dense_ssl.data.sources.entries import check_entry, register_datasets, resolve_dataset
from dense_ssl.data.views.loader import pretrain_dataset_dicts
from dense_ssl.evaluation.build import build_evaluator

pytestmark = pytest.mark.usefixtures("restore_catalogs")

PLAIN = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 10, 8], "area": 80, "iscrowd": 0}


def several(*changes):
    """Annotations on two images that differ in some fields."""
    return [{**PLAIN, "id": i + 1, **x} for i, x in enumerate(changes)]


def score_of_perfect_predictions(entry, tmp_path):
    """AP where exactly the labels that the loader read are predicted."""
    name = resolve_dataset(entry, "DATASETS.TEST")
    cfg = make_cfg(test=(name,))
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    evaluator = build_evaluator(cfg, name)
    evaluator.reset()
    for item in DatasetCatalog.get(name):
        found = Instances((item["height"], item["width"]))
        boxes = torch.tensor([x["bbox"] for x in item["annotations"]]).view(-1, 4).float()
        boxes[:, 2:] += boxes[:, :2]
        found.pred_boxes, found.scores = Boxes(boxes), torch.ones(len(boxes))
        found.pred_classes = torch.tensor([x["category_id"] for x in item["annotations"]]).long()
        evaluator.process([item], [{"instances": found}])
    return evaluator.evaluate()["bbox"]["AP"]


def finetune_cfg(entry):
    cfg = make_cfg((entry,))
    cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    register_datasets(cfg)
    return cfg


@pytest.mark.parametrize(
    "ids", [(0, 1), (1, 1), ("a1", "a2"), (-1, 2), (None, None), (1.5, 2), (True, 2)]
)
def test_ids_that_pycocotools_would_misread_are_counted_anew(tmp_path, ids, caplog):
    box = {"bbox": [20, 10, 10, 8]}
    entry = make_coco(tmp_path, annotations=several({"id": ids[0]}, {"id": ids[1], **box}))
    assert score_of_perfect_predictions(entry, tmp_path) == pytest.approx(100)
    with caplog.at_level(logging.WARNING):
        resolve_labels(finetune_cfg(entry))
    assert "counted anew" in caplog.text


def test_absent_ids_areas_and_crowds_are_filled_in(tmp_path):
    bare = {k: PLAIN[k] for k in ("image_id", "category_id", "bbox")}
    entry = make_coco(tmp_path, annotations=[bare, {**bare, "bbox": [20, 10, 10, 8]}])
    assert score_of_perfect_predictions(entry, tmp_path) == pytest.approx(100)
    with open(MetadataCatalog.get(entry).json_file, encoding="utf-8") as file:
        first = json.load(file)["annotations"][0]
    assert (first["id"], first["area"], first["iscrowd"]) == (1, 80, 0)


def test_a_file_without_faults_is_used_as_it_is(tmp_path):
    entry = make_coco(tmp_path)
    resolve_dataset(entry)
    assert MetadataCatalog.get(entry).json_file == str(tmp_path / "a.json")
    assert MetadataCatalog.get(entry).label_notes == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_any_encoding(tmp_path, encoding):
    entry = make_coco(tmp_path, categories=[{"id": 7, "name": "Käfer"}])
    data = json.loads((tmp_path / "a.json").read_text())
    text = json.dumps(data, ensure_ascii=False)
    (tmp_path / "a.json").write_text(text, encoding=encoding)
    assert score_of_perfect_predictions(entry, tmp_path) == pytest.approx(100)
    assert MetadataCatalog.get(entry).thing_classes == ["Käfer"]


def test_images_with_one_id_are_refused_in_both_stages(tmp_path):
    images = [{"id": 4, "file_name": f"{i}.jpg", "width": 40, "height": 30} for i in (1, 2)]
    with pytest.raises(ValueError, match=r"1 ids of images occur several times: 4\."):
        resolve_dataset(make_coco(tmp_path, images=images))


FAULTS = {
    "classes with one id": (
        {"categories": [{"id": 7, "name": "cat"}, {"id": 7, "name": "dog"}]},
        "ids of categories occur several times: 7",
    ),
    "classes with one name": (
        {
            "categories": [{"id": 7, "name": "cat"}, {"id": 8, "name": "cat"}],
            "annotations": [PLAIN, {**PLAIN, "id": 2, "category_id": 8}],
        },
        "1 names of categories occur several times, first 'cat'",
    ),
    "a class that is a list": ({"annotations": several({"category_id": [7]})}, "first one .7."),
    "ids of two kinds": (
        {
            "images": [
                {"id": i, "file_name": f"{i}.jpg", "width": 40, "height": 30} for i in (1, "2")
            ],
            "annotations": [PLAIN],
        },
        "some ids of images are numbers and some are texts",
    ),
    "an endless image": (
        {
            "images": [
                {"id": i, "file_name": f"{i}.jpg", "width": float("inf"), "height": 30}
                for i in (1, 2)
            ]
        },
        "2 of 2 images have no width and height",
    ),
    "an unknown class": ({"annotations": several({"category_id": 3})}, "category_id .*first one 3"),
    "an unknown image": ({"annotations": several({"image_id": 8})}, "image_id .*first one 8"),
    "a box that is no number": (
        {"annotations": several({"bbox": [1, float("nan"), 2, 3]})},
        "annotation 1 is .1, nan, 2, 3.; it must be four numbers",
    ),
    "a box of words": (
        {
            "annotations": several(
                {"bbox": ["1", "2", "3", "4"]}, {"area": 0, "iscrowd": 0, "id": 0}
            )
        },
        "annotation 1 is .'1', '2', '3', '4'.; it must be four numbers",
    ),
    "a box of three numbers": ({"annotations": several({"bbox": [1, 2, 3]})}, "must be four num"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_labels_stop_fine_tuning_at_its_start_and_not_pre_training(tmp_path, fault):
    changes, message = FAULTS[fault]
    entry = make_coco(tmp_path, **changes)
    assert len(pretrain_dataset_dicts(make_cfg((entry,)))) == 2
    with pytest.raises(ValueError, match=rf"DATASETS\.TRAIN: 'coco:.*{message}"):
        resolve_labels(finetune_cfg(entry))
    with pytest.raises(ValueError, match=message):  # analyses read labels too
        DatasetCatalog.get(entry)


def test_images_without_sizes_can_be_pre_trained_on(tmp_path):
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in (1, 2)]
    dicts = pretrain_dataset_dicts(make_cfg((make_coco(tmp_path, images=images),)))
    assert [os.path.basename(x["file_name"]) for x in dicts] == ["1.jpg", "2.jpg"]


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[20, 10, 38, 28], [1, 2, 10, 8]], r"1 of 2 boxes leave.*annotation 1 .*x1, y1, x2, y2\?"),
        ([[-9, 2, 5, 5], [1, 2, 10, 8]], "1 of 2 boxes leave their image, first annotation 1 "),
        ([[1, 2, 10, 8], [5, 5, 0, 4]], "1 of 2 boxes have no area, first annotation 2 with"),
        ([[5, 5, -3, 4], [5, 5, 3, -4]], "2 of 2 boxes have no area"),
        ([[0.1, 0.1, 0.5, 0.5], [0.2, 0.1, 0.1, 0.5]], "no number of a bbox is above 1"),
        ([[0, 0, 40, 30], [-1, -1, 42, 32]], None),  # rounded by its tool
    ],
)
def test_odd_boxes_are_counted(tmp_path, boxes, message, caplog):
    entry = make_coco(tmp_path, annotations=several(*({"bbox": x} for x in boxes)))
    with caplog.at_level(logging.WARNING):
        resolve_labels(finetune_cfg(entry))
    notes = MetadataCatalog.get(entry).label_notes
    assert len(notes) == (message is not None)
    if message:
        assert re.search(message, caplog.text)


@pytest.mark.parametrize(
    ("left", "right"),
    [("left_eye", "right_eye"), ("LeftEye", "RightEye"), ("L_eye", "R_eye"), ("eye_l", "eye_r"),
     ("eye.L", "eye.R"), ("lEye", "rEye"), ("l eye", "r eye"), ("EYE-LEFT", "EYE-RIGHT")],
)  # fmt: skip
def test_mirrored_keypoints_are_known_by_their_names(tmp_path, left, right):
    names = ["nose", left, right, "tail"]
    entry = make_coco(tmp_path, categories=[{"id": 7, "name": "cat", "keypoints": names}])
    resolve_dataset(entry)
    assert MetadataCatalog.get(entry).keypoint_flip_map == [(left, right)]


@pytest.mark.parametrize("names", [["nose", "tail"], ["leftover", "lamp"], ["l_eye", "nose"]])
def test_keypoints_without_pairs_are_warned_of(tmp_path, names, caplog):
    points = {"keypoints": [2, 3, 2] * 2, "num_keypoints": 2}
    entry = make_coco(tmp_path, annotations=several(points),
                      categories=[{"id": 7, "name": "cat", "keypoints": names}])  # fmt: skip
    cfg = finetune_cfg(entry)
    cfg.MODEL.KEYPOINT_ON = True
    with caplog.at_level(logging.WARNING):
        resolve_labels(cfg)
    assert MetadataCatalog.get(entry).keypoint_flip_map == []
    assert "INPUT.RANDOM_FLIP 'none'" in caplog.text
    assert f"mirror of another one ({', '.join(names)})" in "".join(check_entry(entry).notes)


def test_a_check_says_nothing_of_keypoints_with_pairs_and_of_one_alone(tmp_path):
    for i, names in enumerate((["l_eye", "r_eye"], ["nose"])):
        points = {"keypoints": [2, 3, 2] * len(names), "num_keypoints": len(names)}
        folder = tmp_path / str(i)
        folder.mkdir()
        entry = make_coco(folder, annotations=several(points),
                          categories=[{"id": 7, "name": "cat", "keypoints": names}])  # fmt: skip
        assert "mirror" not in "".join(check_entry(entry).notes)


def test_odd_values_become_those_that_pycocotools_reads(tmp_path):
    annotation = {"image_id": 1, "category_id": 7, "bbox": [1, 2, 10, 8]}
    odd = [{"area": None, "iscrowd": None}, {"area": "big", "iscrowd": "0"},
           {"area": 5, "iscrowd": "true"}, {"area": 5, "iscrowd": True}]  # fmt: skip
    entry = make_coco(tmp_path, categories=[{"id": 7, "name": 7}], annotations=[
        {**annotation, "id": i, **x} for i, x in enumerate(odd, start=1)])  # fmt: skip
    name = resolve_dataset(entry)
    assert MetadataCatalog.get(name).thing_classes == ["7"]
    found = COCO(MetadataCatalog.get(name).json_file).dataset
    assert [x["area"] for x in found["annotations"]] == [80, 80, 5, 5]
    flags = [x["iscrowd"] for x in found["annotations"]]
    assert flags == [0, 0, 1, 1] and "renamed" not in found
    assert [x["iscrowd"] for x in DatasetCatalog.get(name)[0]["annotations"]] == flags


def test_sizes_with_a_point_are_whole_numbers(tmp_path):
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 40.0, "height": 30.0} for i in (1, 2)]
    name = resolve_dataset(make_coco(tmp_path, images=images))
    sizes = [(x["height"], x["width"]) for x in DatasetCatalog.get(name)]
    assert sizes == [(30, 40), (30, 40)] and all(type(y) is int for x in sizes for y in x)


@pytest.mark.parametrize("crowd", [0, 1])
@pytest.mark.parametrize("ignore", [1, True, "yes"])
def test_what_is_to_be_ignored_is_a_crowd(tmp_path, crowd, ignore, caplog):
    box = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 10, 8], "area": 80}
    annotations = [{**box, "iscrowd": 0, "ignore": 0},
                   {**box, "id": 2, "iscrowd": crowd, "ignore": ignore}]  # fmt: skip
    entry = make_coco(tmp_path, annotations=annotations)
    (image,) = [x for x in DatasetCatalog.get(resolve_dataset(entry)) if x["image_id"] == 1]
    assert [x["iscrowd"] for x in image["annotations"]] == [0, 1]
    resolve_labels(make_cfg((entry,)))
    assert "1 annotations have ignore 1: they are taken for crowds" in caplog.text


def test_an_ignore_that_says_nothing_clear_is_refused(tmp_path):
    box = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 10, 8], "ignore": "maybe"}
    name = resolve_dataset(make_coco(tmp_path, annotations=[box]))
    with pytest.raises(ValueError, match="ignore of annotation 1 is 'maybe'; it must be 0 or 1"):
        DatasetCatalog.get(name)
