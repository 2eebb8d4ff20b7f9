#!/usr/bin/env python3
"""Pre-train a backbone without labels, fine-tune a detector and evaluate it, on two CPU cores.

SCRL pre-trains a backbone on unlabelled scenes. The same detector is then trained on a few labelled
scenes four times with the same schedule and seed: from random weights and from that backbone, each
with the backbone trained and with it frozen. Table, curves and pictures are written to output/demo.
"""

import argparse
import json
import math
import os
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs" / "demo"
SCENES = {"num_unlabeled": 4000, "num_train": 50, "num_val": 300}
METRICS = ("bbox/AP", "bbox/AP50", "segm/AP", "segm/AP50")
# name: (uses the pre-trained backbone, backbone is frozen)
RUNS = {
    "random": (False, False),
    "scrl": (True, False),
    "random_frozen": (False, True),
    "scrl_frozen": (True, True),
}


def main():
    """Run all stages."""
    arguments = parse_arguments()
    output = Path(arguments.output)
    seconds, start = {}, time.time()

    stage("1/4  scenes: generated objects with exact boxes and masks")
    scenes = generate_scenes(output / "scenes", arguments.shorten)
    seconds["scenes"] = time.time() - start

    images = arguments.data or scenes / "unlabeled"
    stage(f"2/4  SCRL: pre-training a ResNet-18-FPN without labels on {images}")
    begin = time.time()
    train("scrl.yaml", output / "pretrain", arguments, ["DATASETS.TRAIN", f"('folder:{images}',)"])
    seconds["pretrain"] = time.time() - begin

    labels = len(list((scenes / "train").iterdir()))
    stage(f"3/4  Mask R-CNN on {labels} labelled scenes, four times")
    results = {}
    for name, (pretrained, frozen) in RUNS.items():
        begin = time.time()
        weights = output / "pretrain" / "backbone.pkl" if pretrained else ""
        options = [*labelled(scenes), "MODEL.WEIGHTS", str(weights)]
        train("mask_rcnn.yaml", output / name, arguments,
              [*options, "MODEL.FREEZE_BACKBONE", str(frozen)], name)  # fmt: skip
        results[name] = read_results(output / name)
        seconds[name] = time.time() - begin

    stage("4/4  pictures")
    draw(output, scenes)
    seconds["total"] = time.time() - start
    results["seconds"] = {key: round(value, 1) for key, value in seconds.items()}
    (output / "summary.json").write_text(json.dumps(results, indent=2) + "\n")
    print_table(results, output)


def parse_arguments():
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", help="folder of images to pre-train on, instead of scenes")
    parser.add_argument("--output", default=str(ROOT / "output" / "demo"))
    parser.add_argument("--seed", type=int, default=1, help="of pre-training and fine-tuning")
    parser.add_argument(
        "--shorten", type=float, default=1.0, help="divide all counts by this, for a quick test"
    )
    arguments = parser.parse_args()
    if arguments.data and not os.path.isdir(arguments.data):
        parser.error(f"DATA {arguments.data} is not a folder")
    return arguments


def generate_scenes(folder, shorten):
    """Draw the scenes, once; returns their folder."""
    from dense_ssl.scenes import SceneSpec, write_scenes

    counts = {key: max(math.ceil(x / shorten), 8) for key, x in SCENES.items()}
    write_scenes(folder, SceneSpec(), **counts)
    return folder


def labelled(scenes):
    """Return the config overrides that select the labelled scenes."""
    names = {
        x: f"coco:{scenes}/annotations/instances_{x}.json:{scenes}/{x}" for x in ("train", "val")
    }
    return ["DATASETS.TRAIN", f"('{names['train']}',)", "DATASETS.TEST", f"('{names['val']}',)"]


def train(config, folder, arguments, options, label="scrl"):
    """Run train_net.py with a demo config in its own process and print its progress."""
    from dense_ssl.utils.training_process import run_training

    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, str(ROOT / "train_net.py"), "--config-file", str(CONFIGS / config)]
    options = [*options, "OUTPUT_DIR", str(folder), "SEED", str(arguments.seed)]
    if arguments.shorten != 1:
        options += shortened(CONFIGS / config, arguments.shorten)
    status, tail = run_training(
        [*command, *options], lambda text: print(f"     [{label}] {text}", flush=True), cwd=ROOT
    )
    if status:
        sys.exit(f"{tail}\nThe demo stopped: {' '.join(command)} failed, see above.")


def shortened(config, factor):
    """Return config overrides for a quick test: a schedule over ``factor``, small batches."""
    import yaml

    solver = yaml.safe_load(config.read_text())["SOLVER"]
    options = ["SOLVER.IMS_PER_BATCH", "4", "TEST.PRECISE_BN.NUM_ITER", "2"]
    for key in ("MAX_ITER", "WARMUP_ITERS"):
        options += [f"SOLVER.{key}", str(max(math.ceil(solver[key] / factor), 2))]
    if "STEPS" in solver:
        options += ["SOLVER.STEPS", "()"]
    return options


def read_results(folder):
    """Return the final AP values of a run."""
    from dense_ssl.reports.run_results import final_evaluation

    metrics, _ = final_evaluation(folder, tasks=("bbox", "segm"))
    return {key: round(metrics[key], 2) for key in METRICS}


def draw(output, scenes):
    """Write the curves, the views with matched boxes, and the detections."""
    from dense_ssl.visualization.curves import draw_curves, read_metrics

    pretrain = read_metrics(output / "pretrain" / "metrics.json")
    panels = [
        ("SCRL loss", {"scrl": pretrain["loss_scrl"]}),
        ("feature spread (0: collapsed)", {"scrl": pretrain["scrl/feature_std"]}),
    ]
    detectors = {name: read_metrics(output / name / "metrics.json") for name in RUNS}
    panels.append(("detector loss", {k: x["total_loss"] for k, x in detectors.items()}))
    draw_curves(panels, output / "curves.png")
    views = sorted((output / "pretrain" / "pictures").glob("views_*.png"))
    shutil.copy(views[-1], output / "views.png")
    draw_found(output, scenes)


def draw_found(output, scenes, count=6):
    """Write the detections on the first validation scenes, next to their labels."""
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.data import DatasetCatalog
    from detectron2.modeling import build_model

    from dense_ssl.config import load_config
    from dense_ssl.data.sources.entries import resolve_dataset
    from dense_ssl.visualization.detections import draw_detections, predict

    columns, name = {}, resolve_dataset(labelled(scenes)[3][2:-3])
    dicts = DatasetCatalog.get(name)[:count]
    for run in ("random", "scrl"):
        cfg = load_config(str(output / run / "config.yaml"))
        model = build_model(cfg).eval()
        DetectionCheckpointer(model).load(str(output / run / "model_final.pth"))
        columns[run] = predict(model, dicts, min_score=0.4)
    draw_detections(name, dicts, columns, output / "detections.png")


def stage(text):
    """Print the title of a stage."""
    print(f"\n== {text}", flush=True)


def print_table(results, output):
    """Print the AP table and the names of the output files."""
    print(f"\n{'':18}" + "".join(f"{x:>12}" for x in METRICS))
    for name in RUNS:
        print(f"{name:18}" + "".join(f"{results[name][x]:12.1f}" for x in METRICS))
    print(f"\n{results['seconds']['total'] / 60:.1f} minutes. In {output}:")
    print("  summary.json, curves.png, views.png (matched boxes), detections.png")


if __name__ == "__main__":
    main()
