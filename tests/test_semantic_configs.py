"""Every config of semantic segmentation: its labels, and a step of its model."""

import logging

import pytest
import torch
import yaml
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from helpers import CONFIGS, load_config, short_name

import dense_ssl.modeling  # noqa: F401  (only registration)
from dense_ssl.config.machine import resolve_norms
from dense_ssl.data.finetune.semantic_mapper import SemanticMapper
from dense_ssl.data.sources.entries import resolve_dataset

LARGE = sorted(CONFIGS.glob("finetune/*-SemanticSegmentation/*.yaml"))
MINI = sorted(CONFIGS.glob("mini/finetune/*-SemanticSegmentation/*.yaml"))

# data set and whether the backbone has stride 8
KNOWN = {("PascalVOC", False), ("PascalVOC", True), ("Cityscapes", False), ("Cityscapes", True),
         ("CamVid", False)}  # fmt: skip


def task(path):
    return path.parent.name.partition("-")[0], "d8" in path.stem


def test_every_config_is_known():
    assert {task(x) for x in LARGE} == {task(x) for x in MINI} == KNOWN
    assert len(LARGE) == len(MINI) == len(KNOWN)


@pytest.mark.parametrize("path", LARGE, ids=short_name)
def test_the_model_has_the_classes_of_its_data(path):
    cfg = load_config(path)
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        assert resolve_dataset(name) == name
    reader = SemanticMapper(cfg, True).readers[cfg.DATASETS.TRAIN[0]]
    assert reader.num_classes == cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES


@pytest.mark.parametrize("path", LARGE + MINI, ids=short_name)
def test_colours_and_strides_are_those_of_pretraining(path):
    with open(path) as file:
        yaml.safe_load(file)
    ours, shared = load_config(path), load_config(CONFIGS / "Base-Input.yaml")
    for key in ("PIXEL_MEAN", "PIXEL_STD"):
        assert ours.MODEL[key] == shared.MODEL[key]
    for key in ("NORM", "STRIDE_IN_1X1"):
        assert ours.MODEL.RESNETS[key] == shared.MODEL.RESNETS[key]
    assert ours.INPUT.FORMAT == shared.INPUT.FORMAT == "RGB" and ours.MODEL.WEIGHTS == ""
    assert ours.OUTPUT_DIR.endswith(short_name(path))


@pytest.mark.parametrize("path", LARGE + MINI, ids=short_name)
def test_the_forms_of_mmsegmentation_are_those_of_stride_8(path):
    cfg, (data, is_d8) = load_config(path), task(path)
    assert cfg.MODEL.SEM_SEG_HEAD.FCN.LOSS_MEAN_OVER == ("all" if is_d8 else "valid")
    # it tests Cityscapes in windows, of the size of the training crops
    has_windows = is_d8 and data == "Cityscapes"
    assert tuple(cfg.TEST.WINDOW.SIZE) == (tuple(cfg.INPUT.CROP.SIZE) if has_windows else ())
    if has_windows and path in LARGE:
        assert tuple(cfg.TEST.WINDOW.SIZE) == (769, 769)
        assert tuple(cfg.TEST.WINDOW.STRIDE) == (513, 513)


def make_batch(cfg, count=2, height=49, width=65):
    size = (height, width)
    return [
        {"image": torch.randint(0, 256, (3, *size), dtype=torch.uint8), "height": 60, "width": 80,
         "sem_seg": torch.randint(0, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, size)}
        for _ in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("path", LARGE, ids=short_name)
def test_large_models_build(path):
    cfg = load_config(path)
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build_model(cfg)
    assert model.backbone.output_shape()["res5"].stride == (8 if task(path)[1] else 16)
    assert all(x.requires_grad for x in model.parameters())


@pytest.mark.parametrize("path", MINI, ids=short_name)
def test_mini_models_train_and_infer(path):
    torch.manual_seed(0)
    cfg, is_d8 = load_config(path), task(path)[1]
    assert cfg.MODEL.RESNETS.DEPTH == 18 and cfg.SOLVER.MAX_ITER <= 30
    resolve_norms(cfg, logging.getLogger(__name__))
    assert cfg.MODEL.SEM_SEG_HEAD.NORM == "BN"
    model = build_model(cfg).train()
    with EventStorage():
        losses = model(make_batch(cfg))
    sum(losses.values()).backward()
    assert set(losses) == {"loss_sem_seg", *(["loss_sem_seg_aux"] if is_d8 else [])}
    assert all(torch.isfinite(x) for x in losses.values())
    assert all(x.grad is not None for x in model.parameters())
    with torch.no_grad():
        (output,) = model.eval()(make_batch(cfg, 1))
    assert output["sem_seg"].shape == (cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, 60, 80)
