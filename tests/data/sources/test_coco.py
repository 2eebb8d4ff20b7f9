"""COCO json files of any origin."""

import os

import pytest
from dataset_files import make_cfg, make_coco
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts

from dense_ssl.data.finetune.label_space import resolve_labels
from dense_ssl.data.sources.entries import register_datasets, resolve_dataset

ROOT = os.environ.get("DETECTRON2_DATASETS", "")


pytestmark = pytest.mark.usefixtures("restore_catalogs")


def test_coco_metadata_are_there_before_the_data_are_read(tmp_path):
    name = resolve_dataset(make_coco(tmp_path))
    meta = MetadataCatalog.get(name)
    assert meta.thing_classes == ["cat", "dog"] and meta.evaluator_type == "coco"
    dicts = DatasetCatalog.get(name)
    assert [x["image_id"] for x in dicts] == [1, 2]
    assert dicts[0]["annotations"][0]["category_id"] == 0
    assert len(get_detection_dataset_dicts(name)) == 1  # the other image is empty


@pytest.mark.parametrize(
    "changes",
    [
        {"annotations": None},
        {"annotations": None, "categories": None},
        {"annotations": [{"id": 1, "image_id": 1, "caption": "A cat."}], "categories": None},
        {"images": [{"id": 1, "file_name": "1.jpg"}], "categories": [], "annotations": []},
    ],
)
def test_coco_without_labels_serves_pretraining(tmp_path, changes):
    entry = make_coco(tmp_path, **changes)
    register_datasets(make_cfg((entry,)))
    dicts = DatasetCatalog.get(entry)
    assert os.path.isfile(dicts[0]["file_name"]) and dicts[0]["image_id"] == 1
    with pytest.raises(ValueError, match=r"DATASETS\.TRAIN: 'coco:.* has no labels"):
        resolve_labels(make_cfg((entry,)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"images": [', "not valid json"),
        ("[1, 2]", "list 'images'"),
        ('{"images": []}', "list 'images'"),
        ('{"images": [{"id": 1}]}', "'file_name'"),
        ('{"images": [{"id": 1, "file_name": "1.jpg"}], "categories": [{"id": 1}]}', "'name'"),
    ],
)
def test_broken_coco_json_is_named(tmp_path, content, message):
    entry = make_coco(tmp_path)
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        resolve_dataset(entry, "DATASETS.TEST")
    assert "DATASETS.TEST" in str(error.value) and "a.json" in str(error.value)


def test_coco_paths_are_checked(tmp_path):
    entry = make_coco(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"annotation file .*b\.json"):
        resolve_dataset(entry.replace("a.json", "b.json"))
    with pytest.raises(FileNotFoundError, match="nowhere.*images in .*a.json"):
        resolve_dataset(entry.replace("/images", "/nowhere"))
    (tmp_path / "other").mkdir()
    wrong = resolve_dataset(entry.replace("/images", "/other"))
    with pytest.raises(FileNotFoundError, match="^DATASETS.TRAIN: .*none of the 2 .*other/1.jpg"):
        DatasetCatalog.get(wrong)


def test_coco_errors_in_annotations_name_the_file(tmp_path):
    entry = make_coco(tmp_path, annotations=[{"id": 1, "image_id": 1, "category_id": 3}])
    with pytest.raises(ValueError, match=r"a\.json.*a category_id that is not .* 3\."):
        DatasetCatalog.get(resolve_dataset(entry))


@pytest.mark.skipif(
    not os.path.isfile(f"{ROOT}/coco/annotations/instances_val2017.json"),
    reason="DETECTRON2_DATASETS does not point at a folder with coco/",
)
def test_real_coco_string_equals_the_builtin_name():
    name = resolve_dataset(
        f"coco:{ROOT}/coco/annotations/instances_val2017.json:{ROOT}/coco/val2017"
    )
    assert DatasetCatalog.get(name) == DatasetCatalog.get("coco_2017_val")
    classes = MetadataCatalog.get("coco_2017_val").thing_classes
    assert MetadataCatalog.get(name).thing_classes == classes
