"""Pre-training on data sets that detectron2 registers reads none of their labels."""

import json
import os
import shutil

import pytest
from dataset_files import make_cfg, make_coco, make_voc
from detectron2.data import DatasetCatalog
from detectron2.data.datasets import register_coco_instances, register_pascal_voc

from dense_ssl.data.sources.image_lists import image_reader
from dense_ssl.data.views.loader import pretrain_dataset_dicts

pytestmark = pytest.mark.usefixtures("restore_catalogs")


def names_of(dicts):
    return sorted(os.path.realpath(x["file_name"]) for x in dicts)


@pytest.fixture
def coco(tmp_path):
    """(path of a COCO json, folder of its images), registered with detectron2 as "mine"."""
    _, path, images = make_coco(tmp_path).split(":")
    register_coco_instances("mine", {}, path, images)
    return path, images


def test_coco(coco):
    labelled = names_of(DatasetCatalog.get("mine"))
    assert names_of(pretrain_dataset_dicts(make_cfg(("mine",)))) == labelled


def test_faulty_labels_of_coco(coco):
    path, images = coco
    with open(path) as file:
        data = json.load(file)
    data["annotations"] = [{"id": 1, "image_id": "gone", "bbox": None}]
    with open(path, "w") as file:
        json.dump(data, file)
    found = pretrain_dataset_dicts(make_cfg(("mine",)))
    assert names_of(found) == names_of({"file_name": f"{images}/{x}"} for x in os.listdir(images))


def test_a_share(coco):
    whole, half = (pretrain_dataset_dicts(make_cfg((x,))) for x in ("mine", "mine_50pct_seed0"))
    assert 0 < len(half) < len(whole)
    assert set(names_of(half)) < set(names_of(whole))


def test_voc_without_annotations(tmp_path):
    root, split = str(make_voc(tmp_path, {"a": [("cat", "", 1, 2, 9, 8)], "b": []})), "train"
    register_pascal_voc("my_voc", root, split, 2007)
    labelled = names_of(DatasetCatalog.get("my_voc"))
    shutil.rmtree(os.path.join(root, "Annotations"))
    assert names_of(pretrain_dataset_dicts(make_cfg(("my_voc",)))) == labelled


def test_a_function_of_the_user_is_called(coco):
    """It may leave images out, whatever the metadata say."""
    dicts = DatasetCatalog.get("mine")[:1]
    DatasetCatalog.register("chosen", lambda: dicts)
    assert image_reader("chosen") is None
    assert names_of(pretrain_dataset_dicts(make_cfg(("chosen",)))) == names_of(dicts)
