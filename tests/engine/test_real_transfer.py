"""Every protocol in its mini form on real photos, where these are at hand."""

import argparse
import json
import os
from pathlib import Path

import pytest
from helpers import CONFIGS

from dense_ssl.engine import Trainer, setup

ROOT = Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))
VOC = (f"('voc:{ROOT}/VOC2012:trainval',)", f"('voc:{ROOT}/VOC2012:test',)")
# Data that are there under other names than the config has, and what must be beside them.
PROTOCOLS = {
    "COCO-Detection/faster_rcnn_R_18_FPN": (None, "coco"),
    "COCO-Detection/retinanet_R_18_FPN": (None, "coco"),
    "COCO-InstanceSegmentation/mask_rcnn_R_18_FPN": (None, "coco"),
    "COCO-InstanceSegmentation/mask_rcnn_R_18_FPN_4conv1fc": (None, "coco"),
    "COCO-InstanceSegmentation/mask_rcnn_R_18_C4": (None, "coco"),
    "COCO-Keypoints/keypoint_rcnn_R_18_FPN": (None, "coco"),
    "COCO-FewLabels/mask_rcnn_R_18_FPN_10pct": (None, "coco"),
    "PascalVOC-Detection/faster_rcnn_R_18_FPN": (VOC, "VOC2012"),
    "PascalVOC-Detection/faster_rcnn_R_18_C4": (VOC, "VOC2012"),
    "PascalVOC-SemanticSegmentation/fcn_R_18": (
        (f"('vocseg:{ROOT}/VOC2012:trainval',)", f"('vocseg:{ROOT}/VOC2012:test',)"),
        "VOC2012",
    ),
    "CamVid-SemanticSegmentation/fcn_R_18": (None, "camvid"),
}


@pytest.fixture(autouse=True)
def _catalogs(restore_catalogs):
    """What a test registers is gone after it."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_runs_from_the_command_line_to_the_score(protocol, tmp_path):
    names, folder = PROTOCOLS[protocol]
    if not (ROOT / folder).is_dir():
        pytest.skip(f"no {folder} in the folder that DETECTRON2_DATASETS names ({ROOT})")
    options = ["SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.STEPS", "()",
               "TEST.PRECISE_BN.NUM_ITER", "1", "SEED", "1", "OUTPUT_DIR", str(tmp_path),
               "MODEL.FREEZE_BACKBONE", "True", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0",
               "MODEL.RETINANET.SCORE_THRESH_TEST", "0.0"]  # fmt: skip
    if names:
        options += ["DATASETS.TRAIN", names[0], "DATASETS.TEST", names[1]]
    file = str(CONFIGS / "mini" / "finetune" / f"{protocol}.yaml")
    trainer = Trainer(setup(argparse.Namespace(config_file=file, opts=options, eval_only=False)))
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert set(trainer._last_eval_results) == expected_tasks(trainer.cfg)
    with open(tmp_path / "metrics.json", encoding="utf-8") as log:
        assert any("total_loss" in json.loads(line) for line in log)


def expected_tasks(cfg):
    """The tasks that a protocol is scored by."""
    if cfg.MODEL.META_ARCHITECTURE == "WindowSegmentor":
        return {"sem_seg"}
    tasks = {"bbox"}
    tasks |= {"segm"} if cfg.MODEL.MASK_ON else set()
    return tasks | ({"keypoints"} if cfg.MODEL.KEYPOINT_ON else set())
