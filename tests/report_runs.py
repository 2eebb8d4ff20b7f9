"""Folders of runs as training leaves them, for tests of the report; names that try to break it."""

import json

import cv2
import numpy as np
from helpers import base_config

SCRIPT = "<script>alert(1)</script>"
BOLD = "<b>bold</b> &amp;"  # which plotly would read
IMAGE = '"><img src=x onerror="alert(\'2\')">'
CLASSES = ("cat", f"dog{SCRIPT}", "a/b & 'c'")

# what DataCheck.as_dict gives
PHOTOS = {"entry": "folder:photos", "error": "", "labels": None, "skipped": {"heic": 3, "": 1},
          "images": {"total": 40, "checked": 40, "formats": {"JPEG": 39}, "smallest": [96, 72],
                     "largest": [640, 480]},
          "notes": ["1 of 40 images cannot be read, first photos/1.jpg"], "errors": []}  # fmt: skip
CHECK = {"entry": f"coco:/data/a{IMAGE}.json:/data/images", "error": "", "skipped": {},
         "images": {"total": 12000, "checked": 1000, "formats": {"PNG": 1000},
                    "smallest": [64, 64], "largest": [64, 64]},
         "labels": {"counts": {"objects": 34567, "RLEs": 30000},
                    "classes": {CLASSES[1]: 34000, CLASSES[2]: 567}},
         "notes": [], "errors": [f"the bbox of annotation {IMAGE} is no box"]}  # fmt: skip


def write_run(folder, method="SCRL", steps=3, record=True, **values):
    """Write a run that logged ``steps`` times.

    Args:
        folder: OUTPUT_DIR.
        method: MODEL.META_ARCHITECTURE.
        steps: reports of 20 iterations each. record: with run.json.
        values: metrics beside the loss; a list has a value for each report.

    Returns:
        folder.
    """
    folder.mkdir(parents=True)
    cfg = base_config(
        "MODEL.META_ARCHITECTURE", method, "OUTPUT_DIR", str(folder), "SOLVER.MAX_ITER", 20 * steps,
        "DATASETS.TRAIN", ("folder:photos",), "SEED", 3,
    )  # fmt: skip
    (folder / "config.yaml").write_text(cfg.dump())
    (folder / "log.txt").write_text(
        "[11/26 02:13:49] dense_ssl INFO: Pre-training on 40 images\n"
        f"[11/26 02:13:50] dense_ssl.engine WARNING: 60 steps are few {SCRIPT}\n"
    )
    lines = []
    for k in range(steps):
        now = {"iteration": 20 * k + 19, "total_loss": 3.0 / (k + 1), "lr": 0.1, "time": 0.5}
        now.update({x: y[k] if isinstance(y, list) else y for x, y in values.items()})
        lines.append(json.dumps(now) + "\n")
    (folder / "metrics.json").write_text("".join(lines))
    if record:
        start = {"time": "2026-11-26 02:13:49", "iteration": 0, "command": f"python x.py {SCRIPT}",
                 "folder": "/home/me", "device": "cpu, 2 threads", "processes": 2,
                 "commit": "0123456789abcdef", "dirty": False, "torch": "2.13.0"}  # fmt: skip
        data = {"train": ["folder:photos"], "test": [], "images": 40, "objects": {},
                "checks": [CHECK, PHOTOS]}  # fmt: skip
        (folder / "run.json").write_text(json.dumps({"starts": [start], "data": data}))
    return folder


def finish(folder, scores=None):
    """Write what the end of a run leaves: the name of its last checkpoint, and its scores."""
    (folder / "last_checkpoint").write_text("model_final.pth")
    if scores:
        with open(folder / "metrics.json", "a", encoding="utf-8") as file:
            file.write(json.dumps({"iteration": 60, **scores}) + "\n")
    return folder


def write_detector(folder, weights, ap, **keys):
    """Write a finished detector with scores of boxes, of all classes and of each."""
    write_run(folder, "GeneralizedRCNN", **{"fast_rcnn/cls_accuracy": [0.5, 0.6, 0.7]})
    text = (folder / "config.yaml").read_text()
    text = text.replace("\n  WEIGHTS: ''", f"\n  WEIGHTS: {weights or repr('')}")
    text = text.replace("  TEST: []", "  TEST:\n  - 'coco:/data/val.json:/data/val'")
    for key, value in keys.items():
        assert f"  {key}: " in text
        text = text.replace(f"  {key}: false", f"  {key}: {value}")
    (folder / "config.yaml").write_text(text)
    each = {f"bbox/AP-{name}": ap + k for k, name in enumerate(CLASSES)}
    return finish(folder, {"bbox/AP": ap, "bbox/AP50": 2 * ap, "bbox/APl": float("nan"), **each})


def write_picture(path, width=120, height=80):
    """Write a picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), noise)


def write_comparison(folder, name="scrl"):
    """Write a comparison.json of two backbones over three seeds."""

    def cell(mean, change=None):
        interval = [mean - 1.0, mean + 1.0]
        differences = {} if change is None else {
            "random": {"n": 3, "mean": change, "sd": 0.2, "interval": [change - 0.5, change + 0.5]}
        }  # fmt: skip
        return {"n": 3, "mean": mean, "sd": 0.4, "interval": interval, "differences": differences,
                "values": {"1": mean - 0.5, "2": mean, "3": mean + 0.5}}  # fmt: skip

    content = {
        "backbones": ["random", name, "not done"], "references": ["random"], "seeds": [1, 2, 3],
        "confidence": 0.95, "interval": "Student's t over the seeds",
        "protocols": {"scenes/boxes": {
            "bbox/AP": {"random": cell(10.0), name: cell(14.0, 4.0),
                        "not done": {"n": 0, "mean": None, "sd": None, "interval": None,
                                     "differences": {}, "values": {}}}}},
        "correlations": [{"probe": "scenes/probe", "protocol": "scenes/boxes", "metric": "bbox/AP",
                          "n": 6, "rho": 0.9, "interval": [0.5, 1.0]}],
        "notes": [f"not done: {SCRIPT}"], "trainings": [],
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "comparison.json").write_text(json.dumps(content))


def write_analysis(folder, name="matching"):
    """Write an analysis with its figures, as tools/analyze.py does."""
    write_picture(folder / "analyses" / f"{name}.png", 900, 300)
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="60"><circle r="9"/>'
    (folder / "analyses" / f"{name}_maps.svg").write_text(f"{svg}<script>alert(3)</script></svg>")
    results = {"scrl": {"within_0": 12.5, "curve": [1, 2]}, SCRIPT: {"within_0": 3.0, "curve": [3]}}
    content = {"analysis": name, "source": "DUPR Fig. 10", "results": results, "seed": 0,
               "data": {"entry": IMAGE}}  # fmt: skip
    (folder / "analyses" / f"{name}.json").write_text(json.dumps(content))


def write_everything(root):
    """Write a folder with all that a report shows, most names of it hostile; return it."""
    pretrain = write_run(
        root / SCRIPT, **{"backbone/angle": [1.0, 2.0, 3.0], "scrl/feature_std": 0.8,
                          "momentum": 0.99, "probe/linear": [10.0, 20.0, 30.0],
                          IMAGE: 1.0, f"{SCRIPT}/x_rate": [1.0, float("nan"), 2.0]})  # fmt: skip
    text = (pretrain / "config.yaml").read_text()
    hostile = json.dumps(f"{IMAGE}{SCRIPT}")
    (pretrain / "config.yaml").write_text(text.replace("  NAME: ''\n", f"  NAME: {hostile}\n", 1))
    assert hostile in (pretrain / "config.yaml").read_text()
    finish(pretrain)
    (pretrain / "backbone.pkl").write_bytes(b"")
    for step in (1, 21, 41):
        write_picture(pretrain / "pictures" / f"views_<b>_{step:07d}.png")
        write_picture(pretrain / "pictures" / f"views_SCRLObjective_{step:07d}.png")
    write_analysis(pretrain)
    write_detector(root / "detectors" / "random", "", 10.0)
    write_detector(root / "detectors" / "scrl", pretrain / "backbone.pkl", 14.0)
    write_comparison(root, BOLD)
    write_picture(root / "detections & <i>more.png", 1300, 400)
    return root
