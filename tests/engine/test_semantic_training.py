"""Semantic segmentation end to end on generated images: learning, evaluation, resume, hand-over."""

import argparse
import json
import logging
import os

import cv2
import numpy as np
import pytest
import torch
from dataset_files import make_labels
from detectron2.modeling import build_model
from helpers import (
    CONFIGS,
    base_config,
    build_trainer,
    final_weights,
    recorded_log,
    tiny_config,
    train,
)

from dense_ssl.checkpoint import Checkpointer, backbone_settings
from dense_ssl.data.sources.entries import register_datasets
from dense_ssl.engine import Trainer, setup

MINI = CONFIGS / "mini" / "finetune" / "CamVid-SemanticSegmentation" / "fcn_R_18.yaml"
NARROW = [
    "MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.RESNETS.STEM_OUT_CHANNELS", 8,
    "MODEL.RESNETS.NORM", "BN", "MODEL.SEM_SEG_HEAD.NORM", "BN",
    "MODEL.SEM_SEG_HEAD.CONVS_DIM", 8, "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 3,
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images of a bright sky (0) over a dark ground (2 in files) with a red disc (7); 9: border."""
    folder = tmp_path_factory.mktemp("semantic")
    rng = np.random.default_rng(0)
    for split, count in (("train", 10), ("val", 4)):
        for i in range(count):
            height, width = (64, 80) if i % 3 else (80, 64)
            labels = np.zeros((height, width), np.uint8)
            horizon = int(rng.integers(20, 50))
            labels[horizon:] = 2
            centre = (int(rng.integers(15, width - 15)), int(rng.integers(15, height - 15)))
            cv2.circle(labels, centre, 14, 7, -1)
            image = np.zeros((height, width, 3), np.int16)
            image[labels == 0], image[labels == 2] = (230, 200, 180), (40, 60, 50)  # BGR
            image[labels == 7] = (30, 20, 220)
            image += rng.integers(-20, 21, image.shape).astype(np.int16)
            labels[:, :2] = 9
            (folder / split).mkdir(exist_ok=True)
            cv2.imwrite(str(folder / split / f"{i}.jpg"), image.clip(0, 255).astype(np.uint8))
            make_labels(folder / f"{split}_labels" / f"{i}.png", labels, "P")
    (folder / "classes.txt").write_text("0 sky\n2 ground\n7 disc\n9 border (ignore)\n")
    return folder


def entry(data, split):
    return f"semseg:{data}/{split}:{data}/{split}_labels:{data}/classes.txt"


@pytest.fixture
def config(data, tmp_path):
    def build(*options):
        cfg = base_config()
        cfg.merge_from_file(str(MINI))
        cfg.merge_from_list([
            *NARROW, "DATASETS.TRAIN", (entry(data, "train"),), "DATASETS.TEST",
            (entry(data, "val"),), "OUTPUT_DIR", str(tmp_path / "output"),
            "INPUT.CROP.SIZE", (65, 65), "INPUT.MIN_SIZE_TEST", 0, "SOLVER.IMS_PER_BATCH", 2,
            "SOLVER.MAX_ITER", 6, "SOLVER.CHECKPOINT_PERIOD", 3, "SOLVER.WARMUP_ITERS", 0,
            "SOLVER.STEPS", (), "TEST.PRECISE_BN.NUM_ITER", 2, "SEED", 3, *options,
        ])  # fmt: skip
        register_datasets(cfg)
        return cfg

    return build


def test_learns_and_evaluates(config):
    cfg = config("SOLVER.MAX_ITER", 60, "SOLVER.BASE_LR", 0.05, "SOLVER.IMS_PER_BATCH", 4,
                 "SOLVER.CHECKPOINT_PERIOD", 100, "TEST.PRECISE_BN.NUM_ITER", 10)  # fmt: skip
    trainer = train(cfg)
    results = trainer._last_eval_results["sem_seg"]
    # the best constant answer has an mIoU of less than 100 / 3
    assert results["mIoU"] > 40 and results["pACC"] > 70
    assert {"IoU-sky", "IoU-ground", "IoU-disc"} <= set(results)
    with open(os.path.join(cfg.OUTPUT_DIR, "metrics.json")) as file:
        lines = [json.loads(x) for x in file]
    assert lines[-1]["sem_seg/mIoU"] == results["mIoU"]
    assert [x["sem_seg/accuracy"] for x in lines if "sem_seg/accuracy" in x][-1] > 0.6
    losses = [x["loss_sem_seg"] for x in lines if "loss_sem_seg" in x]
    assert losses[-1] < 0.8 < np.log(3)
    # and from the checkpoint alone
    model = build_model(cfg)
    Trainer.build_checkpointer(cfg, model).load(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"))
    assert Trainer.test(cfg, model)["sem_seg"]["mIoU"] == pytest.approx(results["mIoU"])
    # in windows it is another answer, about as good
    model.window, model.stride = (48, 48), (32, 32)
    in_windows = Trainer.test(cfg, model)["sem_seg"]["mIoU"]
    assert in_windows > 30 and in_windows != pytest.approx(results["mIoU"], abs=1e-3)


def test_resume_equals_an_uninterrupted_run(config, tmp_path):
    auxiliary = ["MODEL.RESNETS.OUT_FEATURES", ["res4", "res5"], "MODEL.RESNETS.RES4_DILATION", 2,
                 "MODEL.RESNETS.RES5_DILATION", 4, "MODEL.SEM_SEG_HEAD.FCN.AUX_IN_FEATURE", "res4",
                 "MODEL.SEM_SEG_HEAD.FCN.DROPOUT", 0.1, "INPUT.COLOR_AUG_SSD", True,
                 "SOLVER.LR_SCHEDULER_NAME", "WarmupPolyLR"]  # fmt: skip
    whole = config(*auxiliary, "OUTPUT_DIR", str(tmp_path / "whole"))
    broken = config(*auxiliary, "OUTPUT_DIR", str(tmp_path / "broken"))
    train(whole)
    train(broken, kill_at=4)
    assert train(broken, resume=True).start_iter == 3
    a, b = final_weights(whole.OUTPUT_DIR), final_weights(broken.OUTPUT_DIR)
    assert any(key.startswith("sem_seg_head.auxiliary") for key in a)
    for key in a:
        assert torch.equal(a[key], b[key]), key


def test_frozen_backbone_stays_and_the_head_learns(config):
    trainer = build_trainer(config("MODEL.FREEZE_BACKBONE", True))
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.train()
    for key, value in trainer.model.state_dict().items():
        is_statistic = "running" in key or "tracked" in key
        if key.startswith("backbone."):
            # statistics are estimated anew before the first step
            assert is_statistic or torch.equal(before[key], value), key
        elif not is_statistic:
            assert not torch.equal(before[key], value), key
    frozen = [x for x in trainer.model.backbone.modules() if isinstance(x, torch.nn.BatchNorm2d)]
    assert len(frozen) == 53 and not any(x.training for x in frozen)


def test_every_tensor_of_a_pretrained_backbone_arrives(config, tmp_path):
    cfg = tiny_config("BYOL", "unused", tmp_path, *NARROW)
    source = build_model(cfg)
    with torch.no_grad():
        for i, tensor in enumerate(source.backbone.state_dict().values()):
            tensor.fill_(i + 1)
    Checkpointer(source, str(tmp_path), settings=backbone_settings(cfg)).save("model_0")
    cfg = config("MODEL.RESNETS.OUT_FEATURES", ["res4", "res5"], "MODEL.RESNETS.RES4_DILATION", 2,
                 "MODEL.RESNETS.RES5_DILATION", 4)  # fmt: skip
    model = build_model(cfg)
    for file in ("backbone.pkl", "model_0.pth"):
        with recorded_log("dense_ssl.checkpoint.checkpointer", logging.INFO) as log:
            Trainer.build_checkpointer(cfg, model).load(str(tmp_path / file))
        assert any(x.startswith("loaded 265 of 265 backbone tensors") for x in log)  # 53 x 5
        for key, value in source.backbone.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                assert torch.equal(model.backbone.state_dict()[key], value), key


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["MODEL.SEM_SEG_HEAD.IGNORE_VALUE", "1"], r"IGNORE_VALUE is 1, which is one of the 3"),
        (["DATASETS.TEST", "('coco_2017_val',)"], r"DATASETS\.TEST: 'coco_2017_val' has no label"),
    ],
)
def test_setup_refuses_before_training(data, tmp_path, options, message):
    opts = ["MODEL.SEM_SEG_HEAD.NUM_CLASSES", "3", "DATASETS.TRAIN", f"({entry(data, 'train')!r},)",
            "DATASETS.TEST", "()", "OUTPUT_DIR", str(tmp_path), *options]  # fmt: skip
    with pytest.raises(ValueError, match=message):
        setup(argparse.Namespace(config_file=str(MINI), opts=opts, eval_only=False))
