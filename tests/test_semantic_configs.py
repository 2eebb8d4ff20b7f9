"""Every config of semantic segmentation: recipes of the papers, and a step of each model."""

import logging
import re

import pytest
import torch
import yaml
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from helpers import CONFIGS, load_config, short_name

import dense_ssl.modeling  # noqa: F401  (only registration)
from dense_ssl.data.finetune.semantic_mapper import SemanticMapper
from dense_ssl.data.sources.entries import resolve_dataset
from dense_ssl.engine.setup import resolve_norms

LARGE = sorted(CONFIGS.glob("finetune/*-SemanticSegmentation/*.yaml"))
MINI = sorted(CONFIGS.glob("mini/finetune/*-SemanticSegmentation/*.yaml"))

# classes, crop, sizes of training images, size of test images, learning rate, batch, steps, length
FCN = {
    "PascalVOC": (21, [513, 513], (0.5, 2.0), 0, 0.003, 16, (21000, 27000), 30000),
    "Cityscapes": (19, [769, 769], (0.5, 2.0), 0, 0.01, 16, (63000, 81000), 90000),
    "CamVid": (11, [360, 480], (0.5, 2.0), 0, 0.01, 16, (4200, 5400), 6000),
}
D8 = {
    "PascalVOC": (21, [512, 512], (256, 1024), 512, 0.01, 16, (), 20000),
    "Cityscapes": (19, [769, 769], (512, 2050), 1025, 0.01, 8, (), 40000),
}


def task(path):
    return path.parent.name.partition("-")[0], "d8" in path.stem


def test_every_config_is_known():
    known = {(x, False) for x in FCN} | {(x, True) for x in D8}
    assert {task(x) for x in LARGE} == {task(x) for x in MINI} == known
    assert len(LARGE) == len(MINI) == len(known)


@pytest.mark.parametrize("path", LARGE, ids=short_name)
def test_recipes_are_those_of_the_papers(path):
    cfg, (data, is_d8) = load_config(path), task(path)
    solver, inputs, head = cfg.SOLVER, cfg.INPUT, cfg.MODEL.SEM_SEG_HEAD
    sizes = inputs.MIN_SIZE_TRAIN if is_d8 else inputs.SCALE_RANGE
    assert (D8 if is_d8 else FCN)[data] == (
        head.NUM_CLASSES, inputs.CROP.SIZE, tuple(sizes), inputs.MIN_SIZE_TEST, solver.BASE_LR,
        solver.IMS_PER_BATCH, tuple(solver.STEPS), solver.MAX_ITER,
    )  # fmt: skip
    assert inputs.CROP.ENABLED and inputs.CROP.TYPE == "absolute"
    assert inputs.RANDOM_FLIP == "horizontal" and solver.MOMENTUM == 0.9
    assert (head.NORM, head.IN_FEATURES, head.IGNORE_VALUE) == ("SyncBN", ["res5"], 255)
    fcn = head.FCN
    model = (head.CONVS_DIM, fcn.NUM_CONVS, fcn.DILATION, fcn.CONCAT_INPUT, fcn.DROPOUT,
             fcn.AUX_IN_FEATURE, fcn.ALIGN_CORNERS)  # fmt: skip
    if is_d8:
        assert model == (512, 2, 1, True, 0.1, "res4", data == "Cityscapes")
        assert (fcn.AUX_CONVS_DIM, fcn.AUX_LOSS_WEIGHT) == (256, 0.4)
        assert (solver.LR_SCHEDULER_NAME, solver.POLY_LR_POWER) == ("WarmupPolyLR", 0.9)
        assert solver.BASE_LR_END == 1e-4 and solver.WARMUP_ITERS == 0
        assert solver.WEIGHT_DECAY == solver.WEIGHT_DECAY_NORM == 5e-4
        assert inputs.COLOR_AUG_SSD and inputs.CROP.SINGLE_CATEGORY_MAX_AREA == 0.75
        assert inputs.MIN_SIZE_TRAIN_SAMPLING == "range" and inputs.SCALE_RANGE == ()
    else:
        assert model == (256, 2, 6, False, 0.0, "", True)
        assert solver.WEIGHT_DECAY == 1e-4 and solver.GAMMA == 0.1
        assert [x / solver.MAX_ITER for x in solver.STEPS] == [0.7, 0.9]
    # the labels are there in the number that the model is built for
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        assert resolve_dataset(name) == name
    reader = SemanticMapper(cfg, True).readers[cfg.DATASETS.TRAIN[0]]
    assert reader.num_classes == head.NUM_CLASSES


@pytest.mark.parametrize("path", LARGE, ids=short_name)
def test_the_arithmetic_of_the_comments_is_right(path):
    cfg = load_config(path)
    pattern = r"(\d+) x (\d+) / (\d+)[\w .]*= ([\d.]+) epochs"
    ((iterations, batch, images, epochs),) = re.findall(pattern, path.read_text())
    assert (int(iterations), int(batch)) == (cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH)
    exact = int(iterations) * int(batch) / int(images)
    assert abs(exact - float(epochs)) <= (0.05 if "." in epochs else 0.5)


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


def make_batch(cfg, count=2, height=49, width=65):
    size = (height, width)
    return [
        {"image": torch.randint(0, 256, (3, *size), dtype=torch.uint8), "height": 60, "width": 80,
         "sem_seg": torch.randint(0, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, size)}
        for _ in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("path", LARGE + MINI, ids=short_name)
def test_models_train_and_infer(path):
    torch.manual_seed(0)
    cfg = load_config(path)
    is_mini, is_d8 = path in MINI, task(path)[1]
    assert cfg.MODEL.RESNETS.DEPTH == (18 if is_mini else 50)
    assert not is_mini or cfg.SOLVER.MAX_ITER <= 30
    resolve_norms(cfg, logging.getLogger(__name__))
    assert cfg.MODEL.SEM_SEG_HEAD.NORM == "BN"
    model = build_model(cfg).train()
    assert model.backbone.output_shape()["res5"].stride == (8 if is_d8 else 16)
    with EventStorage():
        losses = model(make_batch(cfg))
    sum(losses.values()).backward()
    assert set(losses) == {"loss_sem_seg", *(["loss_sem_seg_aux"] if is_d8 else [])}
    assert all(torch.isfinite(x) for x in losses.values())
    assert all(x.requires_grad and x.grad is not None for x in model.parameters())
    with torch.no_grad():
        (output,) = model.eval()(make_batch(cfg, 1))
    assert output["sem_seg"].shape == (cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, 60, 80)
