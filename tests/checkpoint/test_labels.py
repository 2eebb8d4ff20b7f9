"""The names of classes and keypoints travel with a detector's checkpoints."""

import pytest
import torch
from dataset_files import make_coco
from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog
from helpers import CONFIGS, base_config, train
from torch import nn

from dense_ssl.checkpoint import Checkpointer, read_labels
from dense_ssl.data.finetune.labels import training_labels
from dense_ssl.data.sources.entries import resolve_dataset
from dense_ssl.prediction.models import known_labels

pytestmark = pytest.mark.usefixtures("restore_catalogs")


def entry(folder, **changes):
    """A COCO json whose category ids have a gap, loaded."""
    folder.mkdir(exist_ok=True)
    name = resolve_dataset(make_coco(folder, **changes))
    DatasetCatalog.get(name)
    return name


def bird(folder):
    category = {"id": 7, "name": "bird", "keypoints": ["beak", "left_wing", "right_wing"],
                "skeleton": [[1, 2], [1, 3]]}  # fmt: skip
    annotation = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 10, 8], "area": 80,
                  "iscrowd": 0, "keypoints": [3, 4, 2] * 3, "num_keypoints": 3}  # fmt: skip
    return entry(folder, categories=[category], annotations=[annotation])


def test_a_trained_detector_keeps_them_in_every_checkpoint(scenes, tmp_path):
    cfg = base_config()
    cfg.merge_from_file(str(CONFIGS / "mini/finetune/COCO-Detection/faster_rcnn_R_18_FPN.yaml"))
    data = f"coco:{scenes}/annotations/instances_train.json:{scenes}/train"
    names = MetadataCatalog.get(resolve_dataset(data)).thing_classes
    cfg.merge_from_list([
        "DATASETS.TRAIN", (data,), "DATASETS.TEST", (), "OUTPUT_DIR", str(tmp_path),
        "MODEL.ROI_HEADS.NUM_CLASSES", len(names), "MODEL.DEVICE", "cpu",
        "MODEL.RESNETS.NORM", "BN", "MODEL.FPN.NORM", "BN", "SOLVER.MAX_ITER", 2,
        "SOLVER.STEPS", (), "SOLVER.CHECKPOINT_PERIOD", 1, "SOLVER.IMS_PER_BATCH", 2,
        "INPUT.MIN_SIZE_TRAIN", (64,), "TEST.PRECISE_BN.ENABLED", False,
    ])  # fmt: skip
    train(cfg)
    for name in ("model_0000000.pth", "model_final.pth"):
        labels = read_labels(tmp_path / name)
        assert labels["thing_classes"] == list(names)
        ids = MetadataCatalog.get(data).thing_dataset_id_to_contiguous_id
        assert labels["thing_dataset_id_to_contiguous_id"] == ids


def test_several_data_sets_with_the_same_classes(tmp_path):
    cfg = base_config()
    cfg.DATASETS.TRAIN = tuple(entry(tmp_path / x) for x in "ab")
    labels = training_labels(cfg)
    assert labels["thing_classes"] == list(MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).thing_classes)


def test_a_data_set_without_names_does_not_hide_those_of_another(tmp_path):
    cfg = base_config()
    cfg.DATASETS.TRAIN = ("without_names", entry(tmp_path / "a"))
    assert training_labels(cfg)["thing_classes"]
    cfg.DATASETS.TRAIN = ("without_names",)
    assert training_labels(cfg) == {}


def test_keypoints_with_their_mirror_images_and_connections(tmp_path):
    cfg = base_config()
    cfg.DATASETS.TRAIN = (bird(tmp_path / "a"),)
    labels = training_labels(cfg)
    assert labels["keypoint_names"] == ["beak", "left_wing", "right_wing"]
    assert labels["keypoint_flip_map"] == [["left_wing", "right_wing"]]
    pairs = [x[:2] for x in labels["keypoint_connection_rules"]]
    assert pairs == [["beak", "left_wing"], ["beak", "right_wing"]]


def test_they_are_read_back_without_running_code(tmp_path):
    """Also as detectron2's Metadata, with the ids as numbers."""
    labels = {"thing_classes": ["a", "b"], "thing_dataset_id_to_contiguous_id": {3: 0, 9: 1}}
    model = nn.Linear(2, 2)
    Checkpointer(model, str(tmp_path), settings={}, labels=labels).save("model_final")
    assert torch.load(tmp_path / "model_final.pth", weights_only=True)["dense_ssl"]["labels"]
    assert read_labels(tmp_path / "model_final.pth") == labels
    assert Metadata().set(**labels).thing_classes == ["a", "b"]
    Checkpointer(model, str(tmp_path), settings={}).save("nameless")
    assert read_labels(tmp_path / "nameless.pth") == {}


def test_a_checkpoint_without_names_takes_those_of_its_data(tmp_path):
    cfg = base_config()
    cfg.DATASETS.TRAIN = (entry(tmp_path / "a"),)
    own = {"dense_ssl": {"labels": {"thing_classes": ["own"]}}}
    assert known_labels(own, cfg) == {"thing_classes": ["own"]}
    assert known_labels({}, cfg)["thing_classes"] == training_labels(cfg)["thing_classes"]
    cfg.DATASETS.TRAIN = ("folder:/absent",)
    assert known_labels({}, cfg) == {}
