"""Detectors in two processes: naiveSyncBN in C4, and RetinaNet with normalised heads."""

import argparse
import math

import pytest
import torch
from detectron2.utils import comm
from helpers import CONFIGS

from dense_ssl import engine

MINI = CONFIGS / "mini" / "finetune"
# yaml in it, options, and the class of the norms in the backbone and in the new layers
CASES = {
    "MoCo's later advice": (
        "PascalVOC-Detection/faster_rcnn_R_18_C4", ["MODEL.RESNETS.NORM", "naiveSyncBN"],
        {"backbone": "ExactSyncBatchNorm", "roi_heads": "ExactSyncBatchNorm"},
    ),
    "SCRL's RetinaNet": (
        "COCO-Detection/retinanet_R_18_FPN_syncbn", [],
        {"backbone": "ExactSyncBatchNorm", "head": "BatchNorm2d"},
    ),
    "SCRL's Mask R-CNN": (
        "COCO-InstanceSegmentation/mask_rcnn_R_18_FPN_syncbn", [],
        {"backbone": "ExactSyncBatchNorm", "roi_heads": "ExactSyncBatchNorm"},
    ),
}  # fmt: skip


def short_run(yaml, options):
    """Train; return the last loss, the tensors, and the class of every batch norm."""
    args = argparse.Namespace(config_file=str(MINI / f"{yaml}.yaml"), opts=options, eval_only=False)
    trainer = engine.Trainer(engine.setup(args))
    trainer.resume_or_load(resume=False)
    trainer.train()
    model = getattr(trainer.model, "module", trainer.model)
    kinds = {k: type(x).__name__ for k, x in model.named_modules() if hasattr(x, "running_var")}
    is_main = comm.is_main_process()  # only it keeps the losses
    loss = trainer.storage.history("total_loss").latest() if is_main else None
    return {"loss": loss, "model": model.state_dict(), "kinds": kinds}


@pytest.mark.parametrize("case", CASES)
def test_trains_and_all_processes_agree(case, scenes, tmp_path, process_pool):
    yaml, more, expected = CASES[case]
    options = [str(x) for x in (
        "DATASETS.TRAIN", (f"coco:{scenes}/annotations/instances_train.json:{scenes}/train",),
        "DATASETS.TEST", (), "OUTPUT_DIR", tmp_path, "INPUT.MIN_SIZE_TRAIN", (96,), "SEED", 1,
        "INPUT.MASK_FORMAT", "bitmask", "SOLVER.MAX_ITER", 2, "SOLVER.WARMUP_ITERS", 0,
        "SOLVER.STEPS", (), "TEST.PRECISE_BN.NUM_ITER", 1, *more,
    )]  # fmt: skip
    first, second = process_pool.run(short_run, yaml, options)
    assert 0 < first["loss"] < 20 and math.isfinite(first["loss"])
    for part, kind in expected.items():
        assert {x for k, x in first["kinds"].items() if k.startswith(f"{part}.")} == {kind}, part
    for name, value in first["model"].items():
        assert torch.equal(value, second["model"][name]) or name.endswith("tracked"), name
