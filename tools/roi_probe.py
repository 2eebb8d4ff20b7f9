#!/usr/bin/env python3
"""How well a frozen backbone tells ground-truth boxes apart (SCRL's RoI-linear evaluation, small).

    python tools/roi_probe.py --config-file configs/mini/pretrain/scrl_R_18.yaml \\
        MODEL.WEIGHTS output/mini/scrl_R_18/backbone.pkl \\
        DATASETS.TRAIN "('voc:/path/VOC2012:trainval',)" DATASETS.TEST "('voc:/path/VOC2012:test',)"
"""

import argparse
import json
import logging

import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_backbone

from dense_ssl import add_dense_ssl_config
from dense_ssl.analysis.roi_probe import BoxFeatures, roi_linear
from dense_ssl.checkpoint import Checkpointer, backbone_settings
from dense_ssl.data.sources.entries import register_datasets


def main():
    """Print the accuracies as one line of json."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config-file", required=True, help="of the backbone's pre-training")
    parser.add_argument("--feature", default="res5", help="feature map to pool from")
    parser.add_argument("--side", type=int, default=224, help="pixels of a resized image's side")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="config keys and values")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    cfg = get_cfg()
    add_dense_ssl_config(cfg)
    cfg.merge_from_file(arguments.config_file)
    cfg.merge_from_list(arguments.opts)
    cfg.MODEL.RESNETS.NORM = "BN"
    register_datasets(cfg)
    torch.manual_seed(max(cfg.SEED, 0))
    backbone = build_backbone(cfg)
    model = BoxFeatures(
        backbone, arguments.feature, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, arguments.side,
        cfg.INPUT.FORMAT,
    ).to(cfg.MODEL.DEVICE)  # fmt: skip
    if cfg.MODEL.WEIGHTS:
        Checkpointer(
            model, settings=backbone_settings(cfg), check=cfg.MODEL.CHECK_WEIGHTS,
            trust=cfg.MODEL.TRUST_WEIGHTS, needed="backbone",
        ).load(cfg.MODEL.WEIGHTS)  # fmt: skip
    (train,), (test,) = cfg.DATASETS.TRAIN, cfg.DATASETS.TEST
    result = roi_linear(model, train, test)
    print(json.dumps({key: round(float(x), 2) for key, x in result.items()}))


if __name__ == "__main__":
    main()
