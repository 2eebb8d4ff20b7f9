"""The yamls of configs/backbones: they build, hand over to each other, and say what is so."""

import re

import pytest
from detectron2.modeling import BACKBONE_REGISTRY, build_backbone
from helpers import CONFIGS, base_config
from test_pretrain_configs import ARITHMETIC, RATE

from dense_ssl.checkpoint import backbone_settings
from dense_ssl.checkpoint.handover import mismatches
from dense_ssl.engine.setup import check_finetuning, check_pretraining, is_pretraining
from dense_ssl.solver import base_lr, resolve_epochs

FOLDER = CONFIGS / "backbones"
RUNS = sorted(x for x in FOLDER.glob("*/*.yaml"))
# (pre-training, detector that takes its backbone over)
PAIRS = [
    ("pretrain/self_emd_mobilenetv2_coco", "finetune/faster_rcnn_mobilenetv2_FPN_1x"),
    ("pretrain/scrl_regnety_4gf_coco", "finetune/retinanet_regnety_4gf_FPN_1x"),
    ("pretrain/byol_swin_tiny_coco", "finetune/mask_rcnn_swin_tiny_FPN_1x"),
    ("pretrain/byol_convnext_tiny_coco", "finetune/mask_rcnn_convnext_tiny_FPN_1x"),
    ("mini/scrl_mobilenetv2", "mini/mask_rcnn_mobilenetv2_FPN"),
]


def load(path):
    cfg = base_config()
    cfg.merge_from_file(str(path))
    cfg.MODEL.DEVICE = "cpu"
    return cfg


@pytest.mark.parametrize("path", RUNS, ids=lambda x: x.stem)
def test_backbones_build_with_the_maps_that_are_asked_for(path):
    cfg = load(path)
    if cfg.MODEL.BACKBONE.NAME not in BACKBONE_REGISTRY:
        pytest.skip(f"this detectron2 has no {cfg.MODEL.BACKBONE.NAME}")
    (check_pretraining if is_pretraining(cfg) else check_finetuning)(cfg)
    shapes = build_backbone(cfg).output_shape()
    if is_pretraining(cfg):
        assert {k: x.stride for k, x in shapes.items()} == {"res5": 32}
    else:
        heads = cfg.MODEL.RETINANET if cfg.MODEL.META_ARCHITECTURE == "RetinaNet" else cfg.MODEL.RPN
        assert set(heads.IN_FEATURES) == set(shapes)
    assert cfg.OUTPUT_DIR.endswith(path.stem)


@pytest.mark.parametrize("first, second", PAIRS)
def test_a_pretraining_suits_its_detector(first, second):
    saved, wanted = (backbone_settings(load(FOLDER / f"{x}.yaml")) for x in (first, second))
    assert not mismatches(saved, wanted) and wanted["MODEL.TIMM.NAME"]
    assert saved["MODEL.TIMM.NORM"] == wanted["MODEL.TIMM.NORM"] == "SyncBN"


def test_every_run_is_known():
    pairs = {f"{x}.yaml" for pair in PAIRS for x in pair}
    names = {str(x.relative_to(FOLDER)) for x in RUNS}
    assert names - pairs == {"finetune/mask_rcnn_vit_base_FPN_1x.yaml"}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("pretrain/*.yaml")), ids=lambda x: x.stem)
def test_numbers_in_the_comments_are_those_of_the_run(path):
    cfg, text = load(path), path.read_text()
    comments = re.sub(r"\n# ", " ", text)
    epochs, count, batch, iterations = map(float, ARITHMETIC.search(comments).groups())
    assert (epochs, count, batch) == (cfg.SOLVER.EPOCHS, 118287, cfg.SOLVER.IMS_PER_BATCH)
    resolve_epochs(cfg, 118287)
    assert cfg.SOLVER.MAX_ITER == iterations
    stated = RATE.search(text)
    if stated:
        assert base_lr(cfg) == pytest.approx(float(stated[4]))
