"""COCO json files that other code registered are read as entries are."""

import json

import pytest
from dataset_files import make_cfg, make_coco
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances

from dense_ssl.data.finetune.label_space import resolve_labels
from dense_ssl.data.finetune.loader import build_finetune_loader
from dense_ssl.data.sources.entries import forget_datasets, register_datasets
from dense_ssl.data.sources.registration import EntryReader

pytestmark = pytest.mark.usefixtures("restore_catalogs")
BOX = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 8], "area": 80, "iscrowd": 0}
CAT, DOG = {"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}


def registered(name, folder, metadata=None, **content):
    """Register a json by detectron2's function; returns the entry of the same files."""
    folder.mkdir()
    entry = make_coco(folder, **{"annotations": [BOX], "categories": [CAT, DOG], **content})
    _, json_file, images = entry.split(":")
    register_coco_instances(name, metadata or {}, json_file, images)
    return entry


def resolved(train=(), test=(), **model):
    cfg = make_cfg(train, test, **model)
    cfg.INPUT.MASK_FORMAT = "auto"
    register_datasets(cfg)
    resolve_labels(cfg)
    return cfg


def test_the_classes_are_those_of_the_json(tmp_path):
    registered("my_train", tmp_path / "train")
    assert resolved(("my_train",), META_ARCHITECTURE="RetinaNet").MODEL.RETINANET.NUM_CLASSES == 2
    exchanged = [{**DOG, "id": 1}, {**CAT, "id": 2}]
    registered("my_test", tmp_path / "test", categories=exchanged)
    with pytest.raises(ValueError, match="'my_test' of DATASETS.TEST has other classes than"):
        resolved(("my_train",), ("my_test",))


def test_the_dicts_are_those_of_detectron2(tmp_path):
    entry = registered("mine", tmp_path / "a", {"note": "kept"})
    plain = DatasetCatalog.get("mine")
    resolved(("mine",))
    assert isinstance(DatasetCatalog.data["mine"], EntryReader)
    assert DatasetCatalog.get("mine") == plain
    meta = MetadataCatalog.get("mine")
    assert meta.note == "kept" and meta.json_file == entry.split(":")[1]
    forget_datasets()
    assert DatasetCatalog.get("mine") == plain and MetadataCatalog.get("mine").note == "kept"
    assert not isinstance(DatasetCatalog.data["mine"], EntryReader)


def test_metadata_of_other_code_stays(tmp_path):
    person = {"id": 1, "name": "person", "keypoints": ["a_left", "a_right"], "skeleton": [[1, 2]]}
    given = {"keypoint_flip_map": (), "keypoint_names": ("a_left", "a_right")}
    registered("people", tmp_path / "a", given, categories=[person])
    cfg = make_cfg(("people",))
    register_datasets(cfg)
    meta = MetadataCatalog.get("people")
    assert meta.keypoint_flip_map == () and meta.thing_classes == ["person"]


def test_pycocotools_gets_the_corrected_copy(tmp_path):
    entry = registered("mine", tmp_path / "a", annotations=[{**BOX, "id": 0}])
    resolved(test=("mine",))
    path = MetadataCatalog.get("mine").json_file
    assert path != entry.split(":")[1]
    with open(path) as file:
        assert [x["id"] for x in json.load(file)["annotations"]] == [1]


def test_a_share_has_the_masks_of_the_whole(tmp_path):
    rle = {"size": [30, 40], "counts": [10, 20, 1170]}
    annotations = [{**BOX, "segmentation": rle}, {**BOX, "id": 2, "image_id": 2,
                                                  "segmentation": rle}]  # fmt: skip
    registered("rles", tmp_path / "a", annotations=annotations)
    cfg = resolved(("rles_50pct_seed0",), MASK_ON=True)
    assert cfg.INPUT.MASK_FORMAT == "bitmask"
    cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_WORKERS = 1, 0
    (item,) = next(iter(build_finetune_loader(cfg, 0)))
    assert len(item["instances"].gt_masks) == 1


def test_a_reader_of_other_code_is_left_alone(tmp_path):
    entry = make_coco(tmp_path, annotations=[BOX], categories=[CAT, DOG])
    _, json_file, images = entry.split(":")
    DatasetCatalog.register("theirs", lambda: [])
    MetadataCatalog.get("theirs").set(json_file=json_file, image_root=images, evaluator_type="coco")
    register_datasets(make_cfg(test=("theirs",)))
    assert DatasetCatalog.get("theirs") == []
