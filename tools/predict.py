#!/usr/bin/env python3
"""Predict with a trained detector or segmentor: pictures, a COCO json and a table.

    python tools/predict.py --weights output/my_detector --input photos --output predictions
    python tools/predict.py --weights model_best.pth --input 'new/**/*.png' a.jpg \\
        --output predictions --threshold 0.3 INPUT.MIN_SIZE_TEST 1024

docs/predict.md describes the output. The exit status is 0, or 3 if files could not be read.
"""

import argparse
import logging
import os
import sys

from dense_ssl.api import load_detector
from dense_ssl.data.finetune.semantic_mapper import is_semantic
from dense_ssl.prediction import find_images, predict_images
from dense_ssl.prediction.run import FOLDERS
from dense_ssl.utils.command_line import parse_with_config, positive, share
from dense_ssl.utils.plain_errors import plain_errors
from dense_ssl.utils.printable import printable

# Below it a detector of detectron2 finds nothing (the default of its SCORE_THRESH_TEST).
_SCORE_KEYS = ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "MODEL.RETINANET.SCORE_THRESH_TEST")
_LOWEST = 0.05
STATUS_SKIPPED = 3


@plain_errors
def main(arguments=None):
    """Predict, and print what was found; return the exit status."""
    args = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    overrides = {**dict.fromkeys(_SCORE_KEYS, min(args.threshold, _LOWEST)), **args.overrides}
    written = [os.path.join(args.output, x) for x in FOLDERS]
    root, names = find_images(args.input, without=written)
    detector = load_detector(args.weights, args.config_file or None, overrides)
    print(f"{len(names)} images, on {detector.cfg.MODEL.DEVICE}", flush=True)
    summary = predict_images(
        detector, root, names, args.output, threshold=args.threshold,
        batch_size=args.batch_size, pictures=not args.no_pictures,
    )  # fmt: skip
    print("\n".join(report(summary, args, detector.cfg)))
    return STATUS_SKIPPED if summary.broken else 0


def parse_arguments(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True, metavar="RUN_OR_FILE",
                        help="OUTPUT_DIR of a fine-tuning (its last checkpoint), or a checkpoint "
                        "such as model_best.pth")  # fmt: skip
    parser.add_argument("--input", required=True, nargs="+", metavar="IMAGES",
                        help="files, folders (with sub-folders) or quoted patterns")  # fmt: skip
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--threshold", type=share, default=0.5,
                        help="lowest score that a detection may have; default 0.5")  # fmt: skip
    parser.add_argument("--batch-size", type=positive, default=1,
                        help="images at a time; default 1, as in the evaluation")  # fmt: skip
    parser.add_argument("--no-pictures", action="store_true", help="write the json and csv only")
    return parse_with_config(parser, arguments)


def report(summary, args, cfg):
    """Return lines on what was found, and on what may be missed in it."""
    found = ", ".join(f"{count} {name}" for name, count in summary.found.most_common())
    lines = [f"{summary.images} images: {found or 'nothing found'}"]
    if not summary.found and summary.highest is not None:
        lines.append(f"The highest score is {summary.highest:.2f}, below --threshold "
                     f"{args.threshold:g}: lower it, or train longer.")  # fmt: skip
    elif not summary.found and summary.images:
        lines.append("No object has any score to speak of: train longer, or check with --eval-only "
                     "on the training data that the detector has learned something.")  # fmt: skip
    if summary.full:
        limit = cfg.TEST.DETECTIONS_PER_IMAGE
        lines.append(
            f"{summary.full} images reached the limit of {limit} detections, so objects may be "
            f"missing: raise it, such as TEST.DETECTIONS_PER_IMAGE {4 * limit}."
        )
    if summary.broken:
        names = ", ".join(map(printable, summary.broken[:5])) + (
            ", ..." if len(summary.broken) > 5 else ""
        )
        lines.append(
            f"{len(summary.broken)} of {summary.images + len(summary.broken)} files could not be "
            f"read (exit status {STATUS_SKIPPED}): {names}"
        )
    maps = ", label_maps/" if is_semantic(cfg) else ""
    pictures = "" if args.no_pictures else ", pictures/"
    lines.append(f"written to {args.output}: predictions.json, predictions.csv{maps}{pictures}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
