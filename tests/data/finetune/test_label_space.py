"""The numbers of classes and keypoints of a model follow the data."""

import pytest
from dataset_files import make_cfg, make_coco
from detectron2.data import MetadataCatalog
from detectron2.data.detection_utils import create_keypoint_hflip_indices
from helpers import recorded_log

from dense_ssl.data.finetune.label_space import resolve_labels
from dense_ssl.data.sources.entries import resolve_dataset

pytestmark = pytest.mark.usefixtures("restore_catalogs")
NAMES = ["nose", "left_eye", "right_eye", "Left wing", "Right wing", "left_out"]


def with_keypoints(folder, names=NAMES, **changes):
    annotation = {
        "id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 10, 8], "area": 80, "iscrowd": 0,
        "keypoints": [3, 4, 2] * len(names), "num_keypoints": len(names), **changes,
    }  # fmt: skip
    category = {"id": 7, "name": "bird", "keypoints": names}
    annotation = {k: x for k, x in annotation.items() if x is not None}
    return resolve_dataset(make_coco(folder, categories=[category], annotations=[annotation]))


@pytest.mark.parametrize(
    ("architecture", "key"), [("GeneralizedRCNN", "ROI_HEADS"), ("RetinaNet", "RETINANET")]
)
def test_number_of_classes_follows_the_data(tmp_path, architecture, key):
    entry = resolve_dataset(make_coco(tmp_path))
    cfg = make_cfg((entry,), (entry,), META_ARCHITECTURE=architecture)
    with recorded_log("dense_ssl.data.finetune.label_space", "INFO") as log:
        resolve_labels(cfg)
        resolve_labels(cfg)
    assert cfg.MODEL[key].NUM_CLASSES == 2
    assert log[0] == f"MODEL.{key}.NUM_CLASSES: 2 instead of 80, to fit the data"
    assert not any("NUM_CLASSES" in x for x in log[1:])


def test_a_class_without_objects_in_training_is_logged(tmp_path):
    dog = {"id": 1, "image_id": 1, "category_id": 9, "bbox": [1, 2, 10, 8], "area": 80}
    cats = resolve_dataset(make_coco(tmp_path / "cats"))
    dogs = resolve_dataset(make_coco(tmp_path / "dogs", annotations=[dog]))
    for train, test, absent in (
        ((cats,), (cats,), ["dog"]),
        ((f"{cats}_50pct_seed0",), (), ["dog"]),
        ((dogs,), (cats,), ["cat"]),
        ((cats, dogs), (cats,), []),
    ):
        train = tuple(resolve_dataset(x) for x in train)
        with recorded_log("dense_ssl.data.finetune.label_space", "WARNING") as log:
            resolve_labels(make_cfg(train, test))
        assert len(log) == len(absent)
        assert not log or log[0].startswith(f"DATASETS.TRAIN has no object of: {absent[0]}. ")


def test_a_number_on_the_command_line_must_be_that_of_the_data(tmp_path):
    entry = resolve_dataset(make_coco(tmp_path))
    key = "MODEL.ROI_HEADS.NUM_CLASSES"
    with pytest.raises(ValueError, match=f"{key} is 80, but the data have 2"):
        resolve_labels(make_cfg((entry,)), stated=[key])
    cfg = make_cfg((entry,))
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
    resolve_labels(cfg, stated=[key])


def test_other_models_keep_their_numbers(tmp_path):
    cfg = make_cfg((resolve_dataset(make_coco(tmp_path)),), META_ARCHITECTURE="ProposalNetwork")
    before = cfg.dump()
    resolve_labels(cfg)
    assert cfg.dump() == before


def test_data_sets_must_agree(tmp_path):
    entry = resolve_dataset(make_coco(tmp_path))
    with pytest.raises(ValueError, match="'voc_2007_test' of DATASETS.TEST .* 20 against 2"):
        resolve_labels(make_cfg((entry,), ("voc_2007_test",)))
    swapped = [{"id": 7, "name": "dog"}, {"id": 9, "name": "cat"}]
    other = resolve_dataset(make_coco(tmp_path / "other", categories=swapped))
    with pytest.raises(ValueError, match="number 0 is 'dog' against 'cat'"):
        resolve_labels(make_cfg((entry, other)))


def test_folders_cannot_train_detectors(tmp_path):
    entry = resolve_dataset(f"folder:{tmp_path}")
    with pytest.raises(ValueError, match="no GeneralizedRCNN can learn from it"):
        resolve_labels(make_cfg((entry,)))


def test_own_keypoints_and_their_mirror_images(tmp_path):
    entry = with_keypoints(tmp_path)
    cfg = make_cfg((entry,), (), KEYPOINT_ON=True)
    resolve_labels(cfg)
    assert cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS == 6
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 1
    assert create_keypoint_hflip_indices((entry,)) == [0, 2, 1, 4, 3, 5]
    cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS = 17
    with pytest.raises(ValueError, match="NUM_KEYPOINTS is 17, but the data have 6"):
        resolve_labels(cfg, stated=["MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS"])


def test_coco_has_its_own_pairs(tmp_path):
    meta = MetadataCatalog.get("keypoints_coco_2017_train")
    entry = with_keypoints(tmp_path, list(meta.keypoint_names))
    ours, theirs = (create_keypoint_hflip_indices((x,)) for x in (entry, meta.name))
    assert ours == theirs


def test_keypoints_are_evaluated_with_as_many_sigmas(tmp_path):
    entry = with_keypoints(tmp_path)
    cfg = make_cfg((entry,), (entry,), KEYPOINT_ON=True)
    with pytest.raises(ValueError, match="KEYPOINT_OKS_SIGMAS must hold 6 numbers"):
        resolve_labels(cfg)
    cfg.TEST.KEYPOINT_OKS_SIGMAS = [0.05] * 6
    resolve_labels(cfg)


def test_keypoints_need_data_that_have_them(tmp_path):
    cfg = make_cfg((resolve_dataset(make_coco(tmp_path)),), KEYPOINT_ON=True)
    with pytest.raises(ValueError, match="MODEL.KEYPOINT_ON is True, but .* has no keypoints"):
        resolve_labels(cfg)
