"""What --eval-only evaluates."""

import pytest
import torch
from helpers import CONFIGS, base_config

from dense_ssl.engine import Trainer, evaluate


@pytest.fixture
def detector(tmp_path):
    """A function that saves a detector for some classes and returns its config."""

    def build(num_classes):
        cfg = base_config()
        cfg.merge_from_file(str(CONFIGS / "mini/finetune/COCO-Detection/faster_rcnn_R_18_FPN.yaml"))
        cfg.merge_from_list(["MODEL.ROI_HEADS.NUM_CLASSES", num_classes, "DATASETS.TEST", (),
                             "OUTPUT_DIR", str(tmp_path), "MODEL.DEVICE", "cpu",
                             "MODEL.RESNETS.NORM", "BN", "MODEL.FPN.NORM", "BN"])  # fmt: skip
        model = Trainer.build_model(cfg)
        Trainer.build_checkpointer(cfg, model).save(f"of_{num_classes}")
        return cfg

    return build


def test_a_whole_detector_is_evaluated(detector, tmp_path):
    cfg = detector(3)
    cfg.MODEL.WEIGHTS = str(tmp_path / "of_3.pth")
    assert evaluate(cfg, resume=False) == {}
    cfg.MODEL.WEIGHTS = ""
    assert evaluate(cfg, resume=True) == {}


def test_random_weights_are_not_evaluated(detector, tmp_path):
    cfg = detector(3)
    with pytest.raises(ValueError, match="MODEL.WEIGHTS is empty, so --eval-only"):
        evaluate(cfg, resume=False)
    cfg.OUTPUT_DIR = str(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="MODEL.WEIGHTS is empty, so --eval-only"):
        evaluate(cfg, resume=True)


def test_a_detector_of_other_classes_is_not_evaluated(detector, tmp_path):
    cfg = detector(4)
    detector(3)
    cfg.MODEL.WEIGHTS = str(tmp_path / "of_3.pth")
    with pytest.raises(ValueError, match="the complete model is needed.*roi_heads.box_predict"):
        evaluate(cfg, resume=False)
    cfg.MODEL.CHECK_WEIGHTS = False
    assert evaluate(cfg, resume=False) == {}


def test_a_backbone_alone_is_not_evaluated(detector, tmp_path):
    cfg = detector(3)
    path = tmp_path / "of_3.pth"
    data = torch.load(path, weights_only=True)
    data["model"] = {k: x for k, x in data["model"].items() if k.startswith("backbone.")}
    torch.save(data, path)
    cfg.MODEL.WEIGHTS = str(path)
    with pytest.raises(ValueError, match="the complete model is needed"):
        evaluate(cfg, resume=False)
