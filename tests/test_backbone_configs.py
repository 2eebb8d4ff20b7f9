"""The yamls of configs/backbones: they build, they fit each other, and train as they say."""

import pytest
import torch
from detectron2.modeling import BACKBONE_REGISTRY, build_backbone
from helpers import CONFIGS, load_config

from dense_ssl.checkpoint import backbone_settings
from dense_ssl.checkpoint.handover import mismatches
from dense_ssl.engine.setup import check_finetuning, check_pretraining, is_pretraining
from dense_ssl.solver import base_lr, resolve_epochs

FOLDER = CONFIGS / "backbones"
RUNS = sorted(x for x in FOLDER.glob("*/*.yaml"))
# (pre-training, detector that takes its backbone)
PAIRS = [
    ("pretrain/self_emd_mobilenetv2_coco", "finetune/faster_rcnn_mobilenetv2_FPN_1x"),
    ("pretrain/scrl_regnety_4gf_coco", "finetune/retinanet_regnety_4gf_FPN_1x"),
    ("pretrain/byol_swin_tiny_coco", "finetune/mask_rcnn_swin_tiny_FPN_1x"),
    ("pretrain/byol_convnext_tiny_coco", "finetune/mask_rcnn_convnext_tiny_FPN_1x"),
    ("mini/scrl_mobilenetv2", "mini/mask_rcnn_mobilenetv2_FPN"),
]
# Of each pre-training on COCO: iterations, and the learning rate of its whole batch.
RECIPES = {
    "self_emd_mobilenetv2_coco": (369647, 0.2),
    "scrl_regnety_4gf_coco": (28879, 14.4),
    "byol_swin_tiny_coco": (92412, 0.002),
    "byol_convnext_tiny_coco": (92412, 0.002),
}


@pytest.mark.parametrize("path", RUNS, ids=lambda x: x.stem)
def test_backbones_build_with_the_maps_that_are_asked_for(path):
    cfg = load_config(path)
    if cfg.MODEL.BACKBONE.NAME not in BACKBONE_REGISTRY:
        pytest.skip(f"this detectron2 has no {cfg.MODEL.BACKBONE.NAME}")
    assert cfg.OUTPUT_DIR.endswith(path.stem)
    if is_pretraining(cfg):  # on the networks of the detectors
        check_pretraining(cfg)
        assert cfg.MODEL.BACKBONE.NAME == "build_timm_backbone"
        assert cfg.MODEL.RESNETS.OUT_FEATURES == ["res5"]
        return
    check_finetuning(cfg)
    cfg.MODEL.VIT.DEPTH = 1
    # shapes are enough; detectron2's ViT cannot be built without values
    with torch.device("cpu" if "vit" in cfg.MODEL.BACKBONE.NAME else "meta"):
        shapes = build_backbone(cfg).output_shape()
    heads = cfg.MODEL.RETINANET if cfg.MODEL.META_ARCHITECTURE == "RetinaNet" else cfg.MODEL.RPN
    assert set(heads.IN_FEATURES) == set(shapes)


@pytest.mark.parametrize("first, second", PAIRS)
def test_a_pretraining_suits_its_detector(first, second):
    configs = (load_config(FOLDER / f"{x}.yaml") for x in (first, second))
    saved, expected = map(backbone_settings, configs)
    assert not mismatches(saved, expected) and expected["MODEL.TIMM.NAME"]
    assert saved["MODEL.TIMM.NORM"] == expected["MODEL.TIMM.NORM"] == "SyncBN"


def test_every_yaml_is_tested():
    pairs = {f"{x}.yaml" for pair in PAIRS for x in pair}
    names = {str(x.relative_to(FOLDER)) for x in RUNS}
    assert names - pairs == {"finetune/mask_rcnn_vit_base_FPN_1x.yaml"}
    assert {f"pretrain/{x}.yaml" for x in RECIPES} == {x for x in names if "pretrain" in x}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes(name):
    cfg = load_config(FOLDER / "pretrain" / f"{name}.yaml")
    assert list(cfg.DATASETS.TRAIN) == ["coco_2017_train"]
    resolve_epochs(cfg, 118287)
    assert (cfg.SOLVER.MAX_ITER, round(base_lr(cfg), 6)) == RECIPES[name]
