"""The check of the data at the start of a run."""

import json
import logging

import numpy as np
import pytest
from dataset_files import make_cfg, make_coco, make_image, make_labels, make_voc
from helpers import recorded_log

from dense_ssl.data.finetune.loader import forget_training_images
from dense_ssl.data.sources import check, coco, source
from dense_ssl.data.sources.entries import register_datasets
from dense_ssl.engine import data_check
from dense_ssl.engine.data_check import announce_data, check_data

pytestmark = pytest.mark.usefixtures("restore_catalogs")


def many(tmp_path, count=30):
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 40, "height": 30} for i in range(count)]
    for i in range(count):
        make_image(tmp_path / f"images/{i}.jpg")
    return make_coco(tmp_path, images=images)


@pytest.fixture
def ten_at_the_start(monkeypatch):
    for module in (source, check, data_check):
        monkeypatch.setattr(module, "IMAGES_AT_START", 10)
    monkeypatch.setattr("dense_ssl.data.sources.coco_check.IMAGES_AT_START", 10)


def test_pre_training_looks_at_some_images_and_at_no_label(tmp_path, monkeypatch, ten_at_the_start):
    entry = many(tmp_path)
    monkeypatch.setattr(coco, "check_coco", lambda x: pytest.fail("labels were read"))
    (found,) = check_data(make_cfg((entry,)), is_pretraining=True)
    assert (found.images.total, found.images.checked, found.labels) == (30, 10, None)


def test_fine_tuning_looks_at_labels_once_and_lists_no_images(tmp_path, monkeypatch,
                                                              ten_at_the_start):  # fmt: skip
    entry = many(tmp_path)
    cfg = make_cfg((entry,), (entry,))
    register_datasets(cfg)
    monkeypatch.setattr(coco, "read_coco", lambda x: pytest.fail("the json was read again"))
    (found,) = check_data(cfg, is_pretraining=False)
    assert (found.images.total, found.images.checked) == (30, 10)
    assert found.labels.classes == {"cat": 1, "dog": 0}
    assert json.loads(json.dumps(found.as_dict()))["labels"]["counts"]["objects"] == 1
    forget_training_images()


def test_eval_only_leaves_training_data_alone(tmp_path):
    train, test = many(tmp_path / "train"), many(tmp_path / "test")
    cfg = make_cfg((train,), (test,))
    register_datasets(cfg)
    assert [x.entry for x in check_data(cfg, False, eval_only=True)] == [test]
    assert [x.entry for x in check_data(cfg, False)] == [train, test]


def test_a_line_for_each_data_set_and_warnings_of_its_images(tmp_path):
    entry = many(tmp_path, 4)
    (tmp_path / "images/2.jpg").write_text("")
    cfg = make_cfg((entry,))
    register_datasets(cfg)
    with recorded_log("dense_ssl.engine.data_check", "INFO") as log:
        announce_data(check_data(cfg, is_pretraining=False))
    assert log[0] == (
        f"Data: {entry}: 4 images: 3 JPEG, 40 x 30 pixels, headers read; objects: 1, 2 classes"
    )
    assert log[1].startswith(f"Data: {entry}: 1 of 4 images cannot be read, first ")
    assert len(log) == 2


def cut_off(path):
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize("eval_only", [False, True])
def test_a_broken_image_of_a_detector_is_an_error_before_training(tmp_path, eval_only):
    train, test = many(tmp_path / "train", 3), many(tmp_path / "test", 3)
    cut_off(tmp_path / "test/images/1.jpg")
    cfg = make_cfg((train,), (test,))
    register_datasets(cfg)
    checks = check_data(cfg, False, eval_only)
    with pytest.raises(ValueError, match=r"DATASETS.TEST: 'coco:.*1 of 3 images cannot be read"):
        announce_data(checks, False, cfg.DATASETS.TEST)
    with recorded_log(data_check.__name__, logging.WARNING) as messages:
        announce_data(checks)  # pre-training replaces them
    assert any("cannot be read" in x for x in messages)


@pytest.mark.parametrize("eval_only, keys", [
    (False, "DATASETS.TRAIN and DATASETS.TEST"), (True, "DATASETS.TEST")
])  # fmt: skip
def test_data_of_both_keys_are_named_with_both(tmp_path, eval_only, keys):
    entry = many(tmp_path, 3)
    cut_off(tmp_path / "images/1.jpg")
    cfg = make_cfg((entry,), (entry,))
    register_datasets(cfg)
    checks = check_data(cfg, False, eval_only)
    trains = () if eval_only else cfg.DATASETS.TRAIN
    with pytest.raises(ValueError, match=f"^{keys}: 'coco:"):
        announce_data(checks, False, cfg.DATASETS.TEST, trains)


def test_a_test_without_objects_is_an_error_before_training(tmp_path):
    train = make_voc(tmp_path, {"1": [("cat", "", 1, 1, 9, 9)]})
    make_voc(tmp_path, {"2": []}, split="test")
    cfg = make_cfg((f"voc:{train}:train",), (f"voc:{train}:test",))
    register_datasets(cfg)
    checks = check_data(cfg, False)
    with pytest.raises(ValueError, match="DATASETS.TEST: 'voc:.*:test' has no labelled object"):
        announce_data(checks, False, cfg.DATASETS.TEST)
    make_voc(tmp_path, {"2": [("cat", "<difficult>1</difficult>", 1, 1, 9, 9)]}, split="hard")
    cfg = make_cfg((f"voc:{train}:hard",), (f"voc:{train}:hard",))
    register_datasets(cfg)
    with pytest.raises(ValueError, match="no labelled object that is not marked difficult"):
        announce_data(check_data(cfg, False), False, cfg.DATASETS.TEST)
    announce_data(check_data(cfg, False), False)  # detectron2 learns them
    (tmp_path / "crowd").mkdir()
    crowd = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 9, 9], "iscrowd": 1}
    cfg = make_cfg((), (make_coco(tmp_path / "crowd", annotations=[crowd]),))
    register_datasets(cfg)
    with pytest.raises(ValueError, match="has no labelled object that is no crowd"):
        announce_data(check_data(cfg, False), False, cfg.DATASETS.TEST)
    make_labels(tmp_path / "maps/1.png", np.full((30, 40), 255))
    make_image(tmp_path / "images/1.png")
    (tmp_path / "classes.txt").write_text("0 sky\n1 road\n")
    entry = f"semseg:{tmp_path / 'images'}:{tmp_path / 'maps'}:{tmp_path / 'classes.txt'}"
    cfg = make_cfg((entry,))
    register_datasets(cfg)
    with pytest.raises(ValueError, match="DATASETS.TRAIN: 'semseg:.* has no labelled pixel"):
        announce_data(check_data(cfg, False), False)
