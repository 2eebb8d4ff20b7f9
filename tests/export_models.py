"""Small models of every kind that can be exported."""

import importlib.util
import os

import backbone_kinds
import pytest
import torch
from detectron2.modeling import build_model
from helpers import CONFIGS, TINY, base_config

from dense_ssl.checkpoint import Checkpointer, backbone_settings

_DETECTORS = {
    "faster_rcnn_fpn": "Base-RCNN-FPN.yaml",
    "mask_rcnn_fpn": "Base-RCNN-FPN.yaml",
    "keypoint_rcnn_fpn": "Base-Keypoint-RCNN-FPN.yaml",
    "mask_rcnn_c4": "Base-RCNN-C4.yaml",
    "retinanet": "Base-RetinaNet.yaml",
    "fcn": "Base-FCN.yaml",
    "fcn_windows": "Base-FCN.yaml",
}
# Narrow, with few regions; every region is a detection.
_SMALL = [
    *TINY[: TINY.index("MODEL.SSL.HEAD_NORM")],
    "MODEL.FPN.OUT_CHANNELS", 16, "MODEL.FPN.NORM", "BN",
    "MODEL.ANCHOR_GENERATOR.SIZES", [[16], [24], [32], [48], [64]],
    "MODEL.RPN.PRE_NMS_TOPK_TEST", 30, "MODEL.RPN.POST_NMS_TOPK_TEST", 10,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "MODEL.ROI_HEADS.NUM_CLASSES", 3,
    "MODEL.ROI_BOX_HEAD.FC_DIM", 16, "MODEL.ROI_MASK_HEAD.CONV_DIM", 8,
    "MODEL.ROI_MASK_HEAD.NUM_CONV", 1, "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS", (8,),
    "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", 4,
    "MODEL.RETINANET.NUM_CONVS", 1, "MODEL.RETINANET.NUM_CLASSES", 3,
    "MODEL.RETINANET.SCORE_THRESH_TEST", 0.0, "MODEL.RETINANET.TOPK_CANDIDATES_TEST", 20,
    "MODEL.SEM_SEG_HEAD.CONVS_DIM", 8, "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 3,
    "MODEL.SEM_SEG_HEAD.NORM", "BN",
    "INPUT.MIN_SIZE_TEST", 64, "INPUT.MAX_SIZE_TEST", 96, "TEST.DETECTIONS_PER_IMAGE", 8,
]  # fmt: skip
_OWN = {
    "mask_rcnn_fpn": ["MODEL.MASK_ON", True],
    "keypoint_rcnn_fpn": ["MODEL.ROI_HEADS.NUM_CLASSES", 1],
    "mask_rcnn_c4": ["MODEL.MASK_ON", True, "MODEL.ANCHOR_GENERATOR.SIZES", [[16, 32]]],
    "retinanet": ["MODEL.ANCHOR_GENERATOR.SIZES", [[8], [16], [32], [64], [128]]],
    "fcn_windows": ["TEST.WINDOW.SIZE", (48, 48), "TEST.WINDOW.STRIDE", (32, 32)],
}
_LEVELS = ["MODEL.RESNETS.OUT_FEATURES", backbone_kinds.LEVELS]
_BACKBONES = {
    "resnet": _LEVELS,
    "resnet_fpn": [*_LEVELS, "MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone",
                   "MODEL.FPN.IN_FEATURES", backbone_kinds.LEVELS],
    "timm_resnet18": [*_LEVELS, "MODEL.BACKBONE.NAME", "build_timm_backbone",
                      "MODEL.TIMM.NAME", "resnet18", "MODEL.TIMM.NORM", "BN",
                      "MODEL.TIMM.ARGUMENTS", ("base_width=64", "stem_width=16")],
}  # fmt: skip
_KINDS = [x for x in ("convnext", "timm_swin", "vit") if x in backbone_kinds.KINDS]
_BACKBONES.update({x: backbone_kinds.options(x) for x in _KINDS})
if "vit" in _KINDS:
    _BACKBONES["vit_fpn"] = backbone_kinds.options("vit", "fpn")

DETECTORS, BACKBONES = tuple(_DETECTORS), tuple(_BACKBONES)
needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(x) is None for x in ("onnx", "onnxruntime")),
    reason="needs the packages onnx and onnxruntime",
)


def export_config(name):
    """The config of a model of DETECTORS or BACKBONES."""
    cfg = base_config()
    cfg.merge_from_file(str(CONFIGS / _DETECTORS.get(name, "Base-Pretrain.yaml")))
    if name in _BACKBONES:
        last = ["MODEL.BYOL.IN_FEATURE", backbone_kinds.last_map(name.partition("_")[0])]
        cfg.merge_from_list([*TINY, "MODEL.META_ARCHITECTURE", "BYOL", *_BACKBONES[name], *last])
    else:
        cfg.merge_from_list([*_SMALL, *_OWN.get(name, [])])
    return cfg


def write_run(name, folder, *options, labels=None):
    """Write what a run leaves: config.yaml and a checkpoint, of random weights; returns the model.

    The statistics of batch norm are not those of the start, so that leaving them out shows.
    """
    cfg = export_config(name)
    cfg.merge_from_list(list(options))
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    for key, buffer in model.named_buffers():
        if key.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.yaml"), "w", encoding="utf-8") as file:
        file.write(cfg.dump())
    Checkpointer(
        model, str(folder), settings=backbone_settings(cfg), labels=labels
    ).save("model_final")  # fmt: skip
    return model
