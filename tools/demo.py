#!/usr/bin/env python3
"""Pre-train a backbone without labels, fine-tune a detector and evaluate it, on two CPU cores.

SCRL pre-trains a backbone on unlabelled images. The same detector is then trained on a few labelled
ones four times with the same schedule and seed: from random weights and from that backbone, each
with the backbone frozen and with it trained. Two trainings run at the same time, each with half of
the cores. The images are generated scenes, or your own. Table, pictures and a report of all runs
are written to output/demo.
"""

import argparse
import json
import math
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs" / "demo"
SCENES = {"num_unlabeled": 4000, "num_train": 100, "num_val": 200}
CLASSES, MAX_OBJECTS = 6, 4
METRICS = ("bbox/AP", "bbox/AP50", "segm/AP", "segm/AP50")
# name: (uses the pre-trained backbone, backbone is frozen)
RUNS = {
    "random_frozen": (False, True),
    "scrl_frozen": (True, True),
    "random": (False, False),
    "scrl": (True, False),
}


def main():
    """Run all stages."""
    arguments = parse_arguments()
    demo = Demo(arguments)
    start = time.time()
    stage(f"1/4  data: {demo.describe()}")
    demo.prepare()
    demo.seconds["scenes"] = time.time() - start
    stage("2/4  SCRL without labels; at the same time, detectors from random weights")
    together([demo.pretrain], [demo.detector("random_frozen"), demo.detector("random")])
    stage("3/4  the same detectors from the backbone of SCRL")
    together([demo.detector("scrl_frozen")], [demo.detector("scrl")])
    stage("4/4  pictures and the report")
    results = {name: demo.results(name) for name in RUNS}
    demo.draw()
    report = demo.report()
    demo.seconds["total"] = time.time() - start
    results["seconds"] = {key: round(value, 1) for key, value in demo.seconds.items()}
    (demo.output / "summary.json").write_text(json.dumps(results, indent=2) + "\n")
    print_table(results, demo.output)
    print(f"\nThe report of all runs: {report}")


def parse_arguments():
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--data", help="pre-train on these images: a folder or an entry of DATASETS.TRAIN"
    )
    parser.add_argument(
        "--train", help="entry of DATASETS.TRAIN with labels, such as voc:DIR:train; needs --test"
    )
    parser.add_argument("--test", help="entry of DATASETS.TEST to evaluate on")
    parser.add_argument("--output", default=str(ROOT / "output" / "demo"))
    parser.add_argument("--seed", type=int, default=1, help="of pre-training and fine-tuning")
    parser.add_argument(
        "--shorten", type=float, default=1.0, help="divide all counts by this, for a quick test"
    )
    arguments = parser.parse_args()
    if arguments.data and ":" not in arguments.data and not os.path.isdir(arguments.data):
        parser.error(f"DATA {arguments.data} is not a folder")
    if bool(arguments.train) != bool(arguments.test):
        parser.error("TRAIN and TEST, the labelled images, need each other")
    return arguments


class Demo:
    """The data, trainings and pictures of one demo.

    Attributes:
        output: folder of everything that is written.
        seconds: {stage or run: seconds}.
    """

    def __init__(self, arguments):
        self.arguments, self.output = arguments, Path(arguments.output).absolute()
        self.seconds = {}
        scenes = self.output / "scenes"
        self.train_set, self.test_set = (
            f"coco:{scenes}/annotations/instances_{x}.json:{scenes}/{x}" for x in ("train", "val")
        )
        if arguments.train:
            self.train_set, self.test_set = arguments.train, arguments.test
        images = str(arguments.data or scenes / "unlabeled")
        self.images = images if ":" in images else f"folder:{os.path.abspath(images)}"
        self.masks = True

    def describe(self):
        """Return a line on what is trained and tested with."""
        labelled = self.train_set if self.arguments.train else "generated scenes"
        return f"pre-training on {self.arguments.data or 'generated scenes'}, labels of {labelled}"

    def prepare(self):
        """Draw the scenes that are needed, and count the labelled images."""
        from dense_ssl.scenes import SceneSpec, write_scenes

        if not (self.arguments.data and self.arguments.train):
            counts = {k: max(math.ceil(x / self.arguments.shorten), 8) for k, x in SCENES.items()}
            spec = SceneSpec(num_classes=CLASSES, max_objects=MAX_OBJECTS)
            write_scenes(self.output / "scenes", spec, **counts)
        _, images = labelled(self.train_set)
        self.masks = any("segmentation" in y for x in images for y in x["annotations"])
        kind = "Mask R-CNN" if self.masks else "Faster R-CNN"
        print(f"     {kind}, trained on {len(images)} labelled images, tested on "
              f"{len(labelled(self.test_set)[1])}", flush=True)  # fmt: skip

    def pretrain(self):
        """Pre-train the backbone."""
        self._train("pretrain", "scrl.yaml", ["DATASETS.TRAIN", repr((self.images,))])

    def detector(self, name):
        """Return a function that trains the detector ``name`` of ``RUNS``."""
        pretrained, frozen = RUNS[name]
        weights = str(self.output / "pretrain" / "backbone.pkl") if pretrained else ""
        options = ["DATASETS.TRAIN", repr((self.train_set,))]
        options += ["DATASETS.TEST", repr((self.test_set,)), "MODEL.WEIGHTS", weights]
        options += ["MODEL.FREEZE_BACKBONE", str(frozen)]
        return lambda: self._train(
            name, "mask_rcnn.yaml", [*options, "MODEL.MASK_ON", str(self.masks)]
        )

    def _train(self, name, config, options):
        """Run train_net.py in its own process and print its progress."""
        from dense_ssl.utils.cores import available_cores
        from dense_ssl.utils.training_process import run_training

        folder, begin = self.output / name, time.time()
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, str(ROOT / "train_net.py")]
        command += ["--config-file", str(CONFIGS / config), *options]
        command += ["OUTPUT_DIR", str(folder), "SEED", str(self.arguments.seed)]
        command += shortened(self.arguments.shorten, pretraining=name == "pretrain")
        status, tail = run_training(
            command,
            lambda text: print(f"     [{name}] {text}", flush=True),
            environment={"OMP_NUM_THREADS": str(max(available_cores() // 2, 1))},
        )
        if status:
            raise SystemExit(f"{tail}\nThe demo stopped: {' '.join(command)} failed, see above.")
        self.seconds[name] = time.time() - begin

    def results(self, name):
        """Return the final AP values of a run."""
        from dense_ssl.reports.run_results import final_evaluation

        tasks = ("bbox", "segm") if self.masks else ("bbox",)
        metrics, _ = final_evaluation(self.output / name, tasks=tasks)
        return {x: round(metrics[x], 2) for x in METRICS if x in metrics}

    def draw(self):
        """Write the curves, the views with matched boxes, and the detections."""
        from dense_ssl.visualization.curves import draw_curves, read_metrics

        pretrain = read_metrics(self.output / "pretrain" / "metrics.json")
        detectors = {name: read_metrics(self.output / name / "metrics.json") for name in RUNS}
        panels = [
            ("SCRL loss", {"scrl": pretrain["loss_scrl"]}),
            ("angle of the backbone from its start", {"scrl": pretrain["backbone/angle"]}),
            ("detector loss", {k: x["total_loss"] for k, x in detectors.items()}),
        ]
        draw_curves(panels, self.output / "curves.png")
        views = sorted((self.output / "pretrain" / "pictures").glob("views_*.png"))
        shutil.copy(views[-1], self.output / "views.png")
        for kind in ("", "_frozen"):
            self._draw_found({f"random{kind}": "random weights", f"scrl{kind}": "SCRL"}, kind)

    def report(self):
        """Write the report of all runs and return its path."""
        from dense_ssl.reports.html import write_report

        return write_report([self.output])

    def _draw_found(self, runs, kind, count=6):
        """Write what ``runs`` find on the first test images, next to their labels."""
        import dense_ssl
        from dense_ssl.config import load_config
        from dense_ssl.reports.overview import draw_overview
        from dense_ssl.visualization.detections import draw_detections

        name, images = labelled(self.test_set)
        photo, columns, found = self._photo(images), {}, {}
        for run, title in runs.items():
            detector = dense_ssl.load_detector(str(self.output / run / "model_final.pth"))
            columns[title] = [seen(detector, x["file_name"]) for x in images[:count]]
            found[f"detector on {title}" + (", frozen" if kind else "")] = seen(detector, photo)
        draw_detections(name, images[:count], columns, self.output / f"detections{kind}.png")
        cfg = load_config(str(self.output / "pretrain" / "config.yaml"))
        cfg.INPUT.VIEWS.SIZE = (192,)
        draw_overview(cfg, photo, found, detector.labels, self.output / f"overview{kind}.png")

    def _photo(self, images):
        """Return a test photo with several objects; a scene is drawn again, larger."""
        best = max(range(len(images)), key=lambda k: min(len(images[k]["annotations"]), 3))
        if self.arguments.train:
            return images[best]["file_name"]
        from PIL import Image

        from dense_ssl.scenes import SceneSpec, draw_scene

        spec = SceneSpec((384, 384), num_classes=CLASSES, max_objects=MAX_OBJECTS)
        Image.fromarray(draw_scene(spec, "val", best)[0]).save(self.output / "photo.png")
        return str(self.output / "photo.png")


def seen(detector, file_name):
    """Return what a detector finds on a photo with a score of 0.4 at least."""
    instances = detector(file_name)["instances"]
    return instances[instances.scores >= 0.4]


def labelled(entry):
    """Return (name, list of dicts) of a data set with labels."""
    from detectron2.data import DatasetCatalog

    from dense_ssl.data.sources.entries import resolve_dataset

    name = resolve_dataset(entry)
    return name, DatasetCatalog.get(name)


def shortened(factor, pretraining):
    """Return config overrides for a quick test: a schedule over ``factor``, small batches."""
    import yaml

    if factor == 1:
        return []
    base = "Base-Pretrain.yaml" if pretraining else "Base-Detector.yaml"
    solver = yaml.safe_load((ROOT / "configs" / "study" / "boxes" / base).read_text())["SOLVER"]
    options = ["SOLVER.IMS_PER_BATCH", "4"]
    for key in ("MAX_ITER", "WARMUP_ITERS"):
        options += [f"SOLVER.{key}", str(max(math.ceil(solver[key] / factor), 2))]
    if not pretraining:
        options += ["SOLVER.STEPS", "()", "TEST.PRECISE_BN.NUM_ITER", "2"]
    return options


def together(*lanes):
    """Run lists of functions, the lists at the same time if there are two cores."""
    from dense_ssl.utils.cores import available_cores

    with ThreadPoolExecutor(len(lanes) if available_cores() > 1 else 1) as pool:
        for done in [pool.submit(lambda jobs=jobs: [job() for job in jobs]) for jobs in lanes]:
            done.result()


def stage(text):
    """Print the title of a stage."""
    print(f"\n== {text}", flush=True)


def print_table(results, output):
    """Print the AP table and the names of the output files."""
    metrics = [x for x in METRICS if x in results["random"]]
    print(f"\n{'':18}" + "".join(f"{x:>12}" for x in metrics))
    for name in RUNS:
        print(f"{name:18}" + "".join(f"{results[name][x]:12.1f}" for x in metrics))
    print(
        "\nfrozen: only the FPN and the heads learn, so the row tells what the backbone knows.\n"
        "This is one seed: docs/results.md has the spread over three."
    )
    print(f"\n{results['seconds']['total'] / 60:.1f} minutes. In {output}:")
    print("  summary.json, curves.png, views.png (matched boxes), detections*.png, overview*.png")


if __name__ == "__main__":
    main()
