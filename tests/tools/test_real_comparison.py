"""tools/compare.py with train_net.py: stopped and started again."""

import json
import os
import re
import signal
import threading

import pytest
from detectron2.modeling import build_model
from helpers import CONFIGS, base_config
from tool_helpers import load_tool, wait_for

from dense_ssl.checkpoint.handover import backbone_settings, export_backbone
from dense_ssl.scenes import SceneSpec, write_scenes

PROTOCOL = CONFIGS / "demo" / "mask_rcnn.yaml"


@pytest.fixture
def real(tmp_path):
    """Arguments of a real comparison, of one backbone on four scenes."""
    scenes = tmp_path / "scenes"
    write_scenes(scenes, SceneSpec(), num_unlabeled=0, num_train=4, num_val=2)
    cfg = base_config()
    cfg.merge_from_file(str(PROTOCOL))
    cfg.MODEL.RESNETS.NORM = cfg.MODEL.FPN.NORM = "BN"
    export_backbone(build_model(cfg), tmp_path / "backbone.pkl", backbone_settings(cfg))
    names = {x: f"('coco:{scenes}/annotations/instances_{x}.json:{scenes}/{x}',)" for x in ("train", "val")}  # noqa: E501  # fmt: skip
    return [
        "--backbones", f"ours={tmp_path / 'backbone.pkl'}",
        "--protocols", str(PROTOCOL), "--seeds", "1", "--output", str(tmp_path / "out"),
        "DATASETS.TRAIN", names["train"], "DATASETS.TEST", names["val"],
        "SOLVER.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "4", "SOLVER.CHECKPOINT_PERIOD", "2",
        "SOLVER.STEPS", "()", "TEST.PRECISE_BN.NUM_ITER", "1", "SOLVER.AMP.ENABLED", "False",
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0",
    ]  # fmt: skip


@pytest.mark.usefixtures("interruptible")
def test_a_stopped_comparison_resumes(real, tmp_path, capfd):
    compare = load_tool("compare")
    first = tmp_path / "out/demo/mask_rcnn/ours/seed1"

    def press_ctrl_c():
        wait_for((first / "last_checkpoint").exists, 400)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press_ctrl_c, daemon=True).start()
    assert compare.main(real) == 130
    assert "The same command continues" in capfd.readouterr().out
    assert "bbox/AP" not in (first / "metrics.json").read_text()
    assert compare.main(real) == 0
    printed = capfd.readouterr().out
    # of iteration 2 or, as the run that is told to end writes one more, of a later one
    found = re.search(r"ours  seed 1  4 iterations, resumes from model_(\d+|final)\.pth", printed)
    done = 4 if found[1] == "final" else int(found[1]) + 1
    assert done >= 2
    log = (first / "comparison_run.log").read_text()
    assert f"Starting at iteration {done} with seed 1" in log
    loaded = re.findall(r"loaded (\d+) of (\d+)", (first / "log.txt").read_text())
    assert loaded and loaded[0][0] == loaded[0][1]
    report = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert all(x.startswith("run on commit") for x in report["notes"])
    metrics = report["protocols"]["demo/mask_rcnn"]
    assert {"bbox/AP", "segm/AP"} <= set(metrics)
    assert all(cell["n"] == 1 for cells in metrics.values() for cell in cells.values())


def test_a_backbone_is_pretrained(real, tmp_path):
    """The pre-training that train_net.py ends is one that is done, and its backbone is loaded."""
    compare = load_tool("compare")
    position = real.index("--backbones") + 1
    images = f"('folder:{tmp_path / 'scenes' / 'train'}',)"
    keys = ["DATASETS.TRAIN", images, "SOLVER.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "2",
            "SOLVER.WARMUP_ITERS", "1", "SOLVER.CHECKPOINT_PERIOD", "1"]  # fmt: skip
    real[position : position + 1] = [
        f"ours={CONFIGS / 'demo' / 'scrl.yaml'}", "--pretrain-opts", *keys, "--delete-checkpoints"
    ]  # fmt: skip
    assert compare.main(real) == 0
    folder = tmp_path / "out/pretraining/ours/seed1"
    assert (folder / "backbone.pkl").is_file() and not list(folder.glob("*.pth"))
    log = (tmp_path / "out/demo/mask_rcnn/ours/seed1/log.txt").read_text()
    loaded = re.findall(r"loaded (\d+) of (\d+)", log)
    assert loaded and loaded[0][0] == loaded[0][1]
    report = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert {x["name"] for x in report["trainings"]} == {
        "pre-training of ours  seed 1", "demo/mask_rcnn  ours  seed 1"
    }  # fmt: skip
    # nothing is repeated
    before = (folder / "metrics.json").read_text()
    assert compare.main(real) == 0 and (folder / "metrics.json").read_text() == before
