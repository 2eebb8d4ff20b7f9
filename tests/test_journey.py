"""docs/examples/journey.sh: from photos to a detector, its exports and a comparison."""

import json
import os
import subprocess
import sys

from dataset_files import make_voc
from helpers import METHODS, ROOT

SCRIPT = ROOT / "docs/examples/journey.sh"
QUICK = [
    "MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.DEPTH", 50,
    "MODEL.RESNETS.RES2_OUT_CHANNELS", 16, "MODEL.RESNETS.WIDTH_PER_GROUP", 4,
    "MODEL.FPN.OUT_CHANNELS", 16, *METHODS["SCRL"].small, "SOLVER.AMP.ENABLED", False,
    "INPUT.MIN_SIZE_TRAIN", (64,), "INPUT.MIN_SIZE_TEST", 64,
    "MODEL.ROI_BOX_HEAD.FC_DIM", 16, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0,
    "MODEL.RPN.POST_NMS_TOPK_TEST", 20, "TEST.DETECTIONS_PER_IMAGE", 5,
    "SOLVER.IMS_PER_BATCH", 2, "SOLVER.WARMUP_EPOCHS", 0, "SOLVER.WARMUP_ITERS", 1,
    "SOLVER.CHECKPOINT_EPOCHS", 1, "TEST.EVAL_EPOCHS", 1, "TEST.PRECISE_BN.NUM_ITER", 1,
    "MODEL.DEVICE", "cpu", "VIS_PERIOD", 0,
]  # fmt: skip


def travel(*arguments, **environment):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHON": sys.executable, **environment}
    return subprocess.run(["bash", str(SCRIPT), *map(str, arguments)], env=environment,
                          capture_output=True, text=True)  # fmt: skip


def test_the_whole_way(tmp_path):
    for split, ids in (("train", "12"), ("val", "34"), ("test", "34")):
        make_voc(tmp_path, {x: [("RBC", "", 2, 3, 20, 25)] for x in ids}, split)
    voc, out = tmp_path / "voc", tmp_path / "out"
    done = travel(voc / "JPEGImages", *(f"voc:{voc}:{x}" for x in ("train", "val", "test")), out,
                  *QUICK, PRETRAIN_EPOCHS="1", FINETUNE_EPOCHS="2", SEEDS="1")  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    comparison = json.loads((out / "comparison/comparison.json").read_text())
    assert {x for x in comparison["backbones"]} == {"random", "pretrained"}
    for path in ("pretraining/backbone.pkl", "detector/model_best.pth", "predictions", "features",
                 "test", "exported/torchscript", "exported/detector"):  # fmt: skip
        assert (out / path).exists(), path


def test_too_few_arguments_print_the_comment():
    done = travel("photos")
    assert done.returncode == 2
    assert "PHOTOS" in done.stdout and "PRETRAIN_EPOCHS" in done.stdout
    assert "set -e" not in done.stdout
