#!/usr/bin/env python3
"""Compute the features of images, or of boxes in them, by a pre-trained backbone or a detector.

    python tools/embed.py --weights output/my_scrl --input photos --output features
    python tools/embed.py --weights output/my_scrl/backbone.pkl --boxes voc:BCCD:test \\
        --output features --neighbours 6
    python tools/embed.py --weights moco_v2_800ep.pth.tar --config-file configs/Base-Input.yaml \\
        --input photos --output features

It writes features.npz; docs/predict.md describes it. The exit status is 0, or 3 if files could not
be read.
"""

import argparse
import json
import logging
import os
import sys

import numpy as np

from dense_ssl.analysis.embedding import (
    BoxList,
    embed,
    labelled_boxes,
    nearest,
    same_class_share,
)
from dense_ssl.analysis.roi_probe import BoxFeatures
from dense_ssl.api import load_backbone
from dense_ssl.modeling.backbones import bottom_up_of
from dense_ssl.prediction.images import find_images, read_images
from dense_ssl.utils.command_line import parse_with_config
from dense_ssl.utils.plain_errors import plain_errors
from dense_ssl.utils.printable import printable
from dense_ssl.visualization.neighbours import draw_neighbours

STATUS_SKIPPED = 3
SHEET = "neighbours.png"  # in --output
_ROWS = 8  # of the picture


@plain_errors
def main(arguments=None):
    """Embed, and print what was written; return the exit status."""
    args = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("fvcore").setLevel(logging.ERROR)  # the heads of a detector are not used
    box_list = _box_list(args)
    maps = load_backbone(args.weights, args.config_file or None, args.overrides)
    level, cfg = args.level or _last_map(maps.backbone), maps.cfg
    model = BoxFeatures(maps.backbone, level, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD,
                        args.side, cfg.INPUT.FORMAT, "--level")  # fmt: skip
    broken = []
    images = read_images(box_list.root, box_list.names, broken, "Embedding")
    embedding = embed(model.to(cfg.MODEL.DEVICE), images, box_list, level)
    write(embedding, args)
    if broken:
        print(f"{len(broken)} of {len(box_list.names)} files could not be read (exit status "
              f"{STATUS_SKIPPED}): {', '.join(map(printable, broken[:5]))}")  # fmt: skip
    return STATUS_SKIPPED if broken else 0


def parse_arguments(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True, metavar="RUN_OR_FILE",
                        help="OUTPUT_DIR of a pre-training or a fine-tuning, or any weights file "
                        "that MODEL.WEIGHTS may be")  # fmt: skip
    parser.add_argument("--input", nargs="+", metavar="IMAGES",
                        help="files, folders (with sub-folders) or quoted patterns")  # fmt: skip
    parser.add_argument("--boxes", metavar="ANNOTATIONS",
                        help="features of boxes: a labelled entry of DATASETS, or a COCO json with "
                        "the folder of its images as --input")  # fmt: skip
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--level", default="",
                        help="feature map, such as res4 or p3; default: the last one")  # fmt: skip
    parser.add_argument("--side", type=int, default=224,
                        help="images are resized to squares of this side; default 224")  # fmt: skip
    parser.add_argument("--neighbours", type=int, default=0, metavar="N",
                        help="also a picture of the N nearest of some images or boxes")  # fmt: skip
    args = parse_with_config(parser, arguments)
    if not args.input and not args.boxes:
        parser.error("give images by --input, or a labelled data set by --boxes")
    if args.side < 32 or args.neighbours < 0:
        parser.error("--side must be at least 32, and --neighbours not negative")
    return args


def _box_list(args):
    """Return the :class:`BoxList` of the command line."""
    if not args.boxes:
        return BoxList(*find_images(args.input, without=[os.path.join(args.output, SHEET)]))
    if not os.path.isfile(args.boxes):
        return labelled_boxes(args.boxes)
    if not args.input or len(args.input) > 1:
        raise ValueError(f"--boxes {args.boxes} needs the folder of its images: --input FOLDER.")
    return labelled_boxes(f"coco:{args.boxes}:{args.input[0]}")


def _last_map(backbone):
    """Return the name of the map with the largest stride of the network (below a pyramid)."""
    shapes = bottom_up_of(backbone).output_shape()
    return max(shapes, key=lambda x: shapes[x].stride)


def write(embedding, args):
    """Write features.npz and the picture, and print what they are."""
    os.makedirs(args.output, exist_ok=True)
    path = os.path.join(args.output, "features.npz")
    embedding.save(path)
    what = "boxes" if args.boxes else "images"
    count, channels = embedding.features.shape
    print(f"wrote {path}: {count} {what}, {channels} features each, of {embedding.level}")
    if not args.neighbours:
        return
    queries = np.unique(np.linspace(0, count - 1, min(_ROWS, count)).round().astype(int))
    neighbours, cosines = nearest(embedding, args.neighbours, queries)
    path = os.path.join(args.output, SHEET)
    draw_neighbours(embedding, queries, neighbours, cosines, path)
    print(f"wrote {path}: the nearest in other images, by the cosine of their features")
    if (embedding.classes >= 0).all() and len(set(embedding.file_names)) > 1:
        share, chance = same_class_share(embedding)
        print(json.dumps({"nearest_has_same_class": round(100 * share, 1),
                          "by_chance": round(100 * chance, 1)}))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
