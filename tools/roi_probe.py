#!/usr/bin/env python3
"""Classify ground-truth boxes or cells of label maps by a frozen backbone.

The small form of SCRL's RoI-linear evaluation.

    python tools/roi_probe.py --config-file configs/mini/pretrain/scrl_R_18.yaml \\
        MODEL.WEIGHTS output/mini/scrl_R_18/backbone.pkl \\
        DATASETS.TRAIN "('voc:/path/VOC2012:trainval',)" DATASETS.TEST "('voc:/path/VOC2012:val',)"
"""

import argparse
import json
import logging
import os
import sys

import torch
from detectron2.modeling import build_backbone

from dense_ssl.analysis.roi_probe import MAX_BOXES, BoxFeatures, roi_linear
from dense_ssl.checkpoint import Checkpointer, backbone_settings
from dense_ssl.config import load_config
from dense_ssl.config.machine import resolve_device, resolve_norms
from dense_ssl.data.sources.entries import register_datasets
from dense_ssl.utils.command_line import parse_options, positive
from dense_ssl.utils.plain_errors import plain_errors

logger = logging.getLogger("roi_probe")


@plain_errors
def main(arguments=None):
    """Print the accuracies as one line of json."""
    args = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING)
    cfg = load_config(args.config_file, args.opts)
    cfg.MODEL.RESNETS.NORM = "BN"
    resolve_device(cfg, logger)
    resolve_norms(cfg, logger)
    register_datasets(cfg)
    torch.manual_seed(max(cfg.SEED, 0))
    model = BoxFeatures(
        build_backbone(cfg), args.feature, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, args.side,
        cfg.INPUT.FORMAT,
    ).to(cfg.MODEL.DEVICE)  # fmt: skip
    if cfg.MODEL.WEIGHTS:
        Checkpointer(
            model, settings=backbone_settings(cfg), check=cfg.MODEL.CHECK_WEIGHTS,
            trust=cfg.MODEL.TRUST_WEIGHTS, needed="backbone",
        ).load(cfg.MODEL.WEIGHTS)  # fmt: skip
    train, test = (one_entry(cfg, x) for x in ("TRAIN", "TEST"))
    result = roi_linear(model, train, test, max_boxes=args.max_boxes)
    print(json.dumps({key: round(float(x), 2) for key, x in result.items()}))
    if args.write:
        record = {"iteration": cfg.SOLVER.MAX_ITER}
        record.update({f"probe/{key}": float(x) for key, x in result.items()})
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
        with open(os.path.join(cfg.OUTPUT_DIR, "metrics.json"), "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def one_entry(cfg, key):
    """Return the only entry of DATASETS.TRAIN or DATASETS.TEST."""
    if len(cfg.DATASETS[key]) != 1:
        raise ValueError(
            f"DATASETS.{key} is {tuple(cfg.DATASETS[key])}: name one labelled data set."
        )
    return cfg.DATASETS[key][0]


def parse_arguments(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="of a pre-training or a detector")
    parser.add_argument("--feature", default="res5", help="feature map to pool from")
    parser.add_argument("--side", type=positive, default=224, help="size of the resized images")
    parser.add_argument("--max-boxes", type=positive, default=MAX_BOXES, metavar="N",
                        help="boxes of each data set, at most; default 50000")  # fmt: skip
    parser.add_argument("--write", action="store_true", help="also to OUTPUT_DIR/metrics.json")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="config keys and values")
    return parse_options(parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
