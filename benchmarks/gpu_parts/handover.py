"""Pre-train, fine-tune and evaluate a few steps through train_net.py, as a user would."""

import functools
import math
import pickle
import re
import subprocess
import sys
import time

from dense_ssl.reports.run_results import final_evaluation
from dense_ssl.scenes import SceneSpec, write_scenes
from dense_ssl.utils.metrics_file import read_records
from gpu_parts.common import CONFIGS, ROOT

_LOADED = re.compile(r"loaded (\d+ of \d+) backbone tensors")
# name: (pre-training, its options, detector, its options)
RUNS = {
    "demo, ResNet-18-FPN": ("demo/scrl.yaml", (), "demo/mask_rcnn.yaml", ()),
    "ResNet-50": (
        "pretrain/scrl_R_50_coco.yaml",
        ("SOLVER.EPOCHS", 0, "SOLVER.WARMUP_EPOCHS", 0, "SOLVER.CHECKPOINT_EPOCHS", 0,
         "SOLVER.ACCUMULATE", 1, "SOLVER.IMS_PER_BATCH", 64, "INPUT.VIEWS.SIZE", "(128,)",
         "SOLVER.WARMUP_ITERS", 2),
        "finetune/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
        ("MODEL.ROI_HEADS.NUM_CLASSES", 8, "INPUT.MASK_FORMAT", "bitmask",
         "INPUT.MIN_SIZE_TRAIN", "(320,)", "INPUT.MIN_SIZE_TEST", 320, "SOLVER.STEPS", "()",
         "SOLVER.WARMUP_ITERS", 2, "TEST.PRECISE_BN.NUM_ITER", 10,
         "SOLVER.AMP.ENABLED", True),
    ),
}  # fmt: skip


def items(settings):
    """{name: function}."""
    names = list(RUNS)[:1] if settings.small else list(RUNS)
    return {name: functools.partial(hand_over, settings, *RUNS[name]) for name in names}


def hand_over(settings, pretraining, pretraining_options, detector, detector_options):
    """Run both stages; returns what was loaded and how the detector ended."""
    count, steps, workers = (16, 2, 0) if settings.small else (128, 20, 4)
    scenes = settings.output / "scenes"
    write_scenes(scenes, SceneSpec(), num_unlabeled=count, num_train=count, num_val=count)
    labelled = {x: f"('coco:{scenes}/annotations/instances_{x}.json:{scenes}/{x}',)"
                for x in ("train", "val")}  # fmt: skip
    folders = [settings.scratch(x) for x in ("pretrain", "detector")]
    shared = ["MODEL.DEVICE", settings.device, "SOLVER.MAX_ITER", steps, "SEED", 1,
              "SOLVER.CHECKPOINT_PERIOD", 1000, "DATALOADER.NUM_WORKERS", workers]  # fmt: skip
    shared += ["SOLVER.WARMUP_ITERS", 1]
    if settings.small:
        shared += ["SOLVER.IMS_PER_BATCH", 4]
    begin = time.time()
    train(settings, pretraining, folders[0], [*pretraining_options, *shared,
          "DATASETS.TRAIN", f"('folder:{scenes}/unlabeled',)"])  # fmt: skip
    middle = time.time()
    text = train(settings, detector, folders[1], [*detector_options, *shared, "SOLVER.STEPS", "()",
          "TEST.PRECISE_BN.NUM_ITER", 2, "DATASETS.TRAIN", labelled["train"], "DATASETS.TEST",
          labelled["val"], "MODEL.WEIGHTS", folders[0] / "backbone.pkl"])  # fmt: skip
    loaded = _LOADED.findall(text)
    losses = [x["total_loss"] for x in read_records(folders[1] / "metrics.json")
              if "total_loss" in x]  # fmt: skip
    metrics, _ = final_evaluation(folders[1], tasks=("bbox", "segm"))
    # the detector's FPN is new where the pre-training had none
    own = len(pickle.loads((folders[0] / "backbone.pkl").read_bytes())["model"])
    fine = bool(loaded) and loaded[0].startswith(f"{own} of ") and math.isfinite(losses[-1])
    return {
        "ok": fine,
        "backbone tensors loaded": loaded[0] if loaded else None,
        "loss of the detector": losses[-1],
        "box AP": metrics.get("bbox/AP"),
        "mask AP": metrics.get("segm/AP"),
        "pre-training, s": middle - begin,
        "detector, s": time.time() - middle,
    }


def train(settings, config, folder, options):
    """Run train_net.py; returns what it printed."""
    command = [sys.executable, str(ROOT / "train_net.py"), "--config-file", str(CONFIGS / config)]
    result = subprocess.run(
        [*command, "OUTPUT_DIR", str(folder), *map(str, options)], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=max(settings.seconds_left(), 1),
    )  # fmt: skip
    if result.returncode:
        raise RuntimeError(f"train_net.py with {config} failed:\n{result.stdout[-3000:]}")
    return result.stdout
