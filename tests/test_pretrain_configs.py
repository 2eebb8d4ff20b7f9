"""Every pre-training config builds its model, and its comments count right."""

import re
import shlex

import pytest
from detectron2.modeling import build_model
from helpers import CONFIGS, ROOT, base_config

from dense_ssl.data.views.mapper import MultiViewMapper
from dense_ssl.engine.setup import check_pretraining, is_pretraining
from dense_ssl.modeling import Pretrainer
from dense_ssl.modeling.momentum import momentum_at
from dense_ssl.solver import base_lr, resolve_epochs

FOLDERS = ("pretrain", "mini/pretrain", "demo")
IMAGES = {"coco_2017_train": 118287, "imagenet_train": 1281167}
ARITHMETIC = re.compile(r"([\d.]+) x ([\d.]+) / ([\d.]+) = ([\d.]+)")
RATE = re.compile(r"BASE_LR: ([\d.]+)\s*# x (\d+) / (\d+) = ([\d.]+)")
GPUS = re.compile(r"(\d+) / (\d+) parts / (\d+) = (\d+)")


def load(path):
    cfg = base_config()
    cfg.merge_from_file(str(path))
    return cfg


def pretraining_configs():
    paths = [x for folder in FOLDERS for x in sorted((CONFIGS / folder).rglob("*.yaml"))]
    return [str(x.relative_to(CONFIGS)) for x in paths if is_pretraining(load(x))]


NAMES = pretraining_configs()
LARGE = [x for x in NAMES if x.startswith("pretrain/") and "Base" not in x]


def comments(name):
    """The comments at the top of a file as one line, without line breaks inside a sentence."""
    lines = (CONFIGS / name).read_text().splitlines()
    return " ".join(x.lstrip("# ") for x in lines if x.startswith("#"))


@pytest.mark.parametrize("name", NAMES)
def test_a_config_builds_its_model(name):
    cfg = load(CONFIGS / name)
    cfg.MODEL.DEVICE, cfg.MODEL.RESNETS.NORM, cfg.MODEL.SSL.HEAD_NORM = "cpu", "BN", "BN"
    check_pretraining(cfg)
    model = build_model(cfg)
    assert isinstance(model, Pretrainer) and type(model).__name__ == cfg.MODEL.META_ARCHITECTURE
    last = max(max(x.online_views + x.target_views) for x in model.objectives.values())
    assert len(MultiViewMapper(cfg).views) > last
    assert cfg.SOLVER.IMS_PER_BATCH % cfg.SOLVER.ACCUMULATE == 0


@pytest.mark.parametrize("method, architecture", [
    ("byol", "BYOL"), ("scrl", "SCRL"), ("moco_v2", "MoCoV2"), ("dupr", "DUPR"),
    ("point_region_contrast", "PointRegionContrast"), ("self_emd", "SelfEMD"),
    ("lc_loss", "LCLoss"), ("dense_cl", "DenseCL"),
])  # fmt: skip
@pytest.mark.parametrize("data", ["coco", "imagenet"])
def test_names_say_method_backbone_and_data(method, architecture, data):
    name = f"pretrain/{method}_R_50_{data}.yaml"
    assert name in NAMES
    cfg = load(CONFIGS / name)
    assert cfg.MODEL.META_ARCHITECTURE == architecture
    assert cfg.MODEL.RESNETS.DEPTH == 50
    assert cfg.MODEL.BACKBONE.NAME == "build_resnet_backbone"
    assert list(cfg.DATASETS.TRAIN) == [f"{data}_2017_train" if data == "coco" else f"{data}_train"]
    assert cfg.OUTPUT_DIR == f"output/{method}_R_50_{data}"


@pytest.mark.parametrize("name", ["pretrain/lc_loss_R_50_coco", "mini/pretrain/lc_loss_R_18"])
def test_the_two_view_form_of_lc_loss_is_the_one_in_the_docs(name):
    page = (ROOT / "projects" / "DenseSSL" / "README.md").read_text()
    options = shlex.split(re.search(r"Two: `(INPUT.VIEWS.NUM 2 .*?)`", page).group(1))
    cfg = load(CONFIGS / f"{name}.yaml")
    cfg.merge_from_list([*options, "MODEL.DEVICE", "cpu", "MODEL.RESNETS.NORM", "BN",
                         "MODEL.SSL.HEAD_NORM", "BN"])  # fmt: skip
    views = MultiViewMapper(cfg).views
    assert [x.crop for x in views] == ["random", "whole"] and views[1].flip_prob == 0
    local = build_model(cfg).objectives["LCObjective"]
    assert local.online_views == (0,) and local.target_views == (1,)


def test_every_config_writes_to_a_folder_of_its_own():
    folders = [load(CONFIGS / x).OUTPUT_DIR for x in NAMES if "Base" not in x]
    assert len(set(folders)) == len(folders) and "./output" not in folders


@pytest.mark.parametrize("name", LARGE)
def test_iterations_in_the_comment_are_those_of_the_run(name):
    cfg = load(CONFIGS / name)
    (images,) = [IMAGES[x] for x in cfg.DATASETS.TRAIN]
    epochs, count, batch, iterations = map(float, ARITHMETIC.search(comments(name)).groups())
    assert (epochs, count, batch) == (cfg.SOLVER.EPOCHS, images, cfg.SOLVER.IMS_PER_BATCH)
    resolve_epochs(cfg, images)
    assert cfg.SOLVER.MAX_ITER == iterations


def test_rates_in_the_comments_are_those_of_the_run():
    stated = {x: RATE.search((CONFIGS / x).read_text()) for x in LARGE}
    assert sum(map(bool, stated.values())) >= 4
    for name, match in stated.items():
        if match:
            cfg = load(CONFIGS / name)
            base, batch, of_batch, rate = map(float, match.groups())
            assert (base, batch) == (cfg.SOLVER.BASE_LR, cfg.SOLVER.IMS_PER_BATCH), name
            assert of_batch == cfg.SOLVER.BASE_LR_BATCH
            assert base_lr(cfg) == pytest.approx(rate), name


def test_the_images_of_a_gpu_in_the_comments_are_those_of_the_run():
    stated = [(x, *y) for x in NAMES for y in GPUS.findall(comments(x))]
    assert len(stated) >= 2
    for name, *numbers in stated:
        batch, parts, gpus, share = map(int, numbers)
        cfg = load(CONFIGS / name)
        assert (batch, parts) == (cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.ACCUMULATE), name
        assert batch == parts * gpus * share, name


@pytest.mark.parametrize("name, rate, momentum, decay", [
    ("scrl_R_50_imagenet", 0.45, 0.97, 1e-6), ("scrl_R_50_imagenet_1000ep", 0.2, 0.996, 1.5e-6),
    ("byol_R_50_imagenet", 0.3, 0.99, 1e-6), ("byol_R_50_imagenet_1000ep", 0.2, 0.996, 1.5e-6),
])  # fmt: skip
def test_recipes_are_those_of_the_papers(name, rate, momentum, decay):
    cfg = load(CONFIGS / "pretrain" / f"{name}.yaml")
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY) == (rate, decay)
    assert cfg.SOLVER.OPTIMIZER == "LARS" and cfg.SOLVER.BASE_LR_BATCH == 256
    node = cfg.MODEL.SSL.MOMENTUM
    assert momentum_at(0, 100, node.BASE, node.SCHEDULE) == pytest.approx(momentum)
    views = cfg.INPUT.VIEWS
    low = 0.2 if "scrl" in name else 0.08
    assert tuple(views.CROP_SCALE) == ((low, 1.0),) and tuple(views.SIZE) == (224,)
    assert tuple(views.BLUR_PROB) == (1.0, 0.1) and tuple(views.SOLARIZE_PROB) == (0.0, 0.2)


@pytest.mark.parametrize("name, rate, epochs", [
    ("moco_v2_R_50_imagenet", 0.03, 200), ("moco_v2_R_50_coco", 0.3, 800),
    ("dupr_R_50_imagenet", 0.06, 200), ("dupr_R_50_coco", 0.06, 2000),
    ("point_region_contrast_R_50_imagenet", 0.03, 200),
    ("point_region_contrast_R_50_coco", 0.03, 800),
])  # fmt: skip
def test_recipes_of_the_contrastive_family(name, rate, epochs):
    cfg = load(CONFIGS / "pretrain" / f"{name}.yaml")
    assert (base_lr(cfg), cfg.SOLVER.EPOCHS) == (pytest.approx(rate), epochs)
    assert cfg.SOLVER.IMS_PER_BATCH == 256 and cfg.SOLVER.OPTIMIZER == "SGD"
    assert cfg.SOLVER.WEIGHT_DECAY == cfg.SOLVER.WEIGHT_DECAY_NORM == 1e-4
    assert cfg.SOLVER.WARMUP_ITERS == cfg.SOLVER.WARMUP_EPOCHS == 0
    node = cfg.MODEL.SSL.MOMENTUM
    assert {momentum_at(k, 100, node.BASE, node.SCHEDULE) for k in (0, 50, 99)} == {0.999}
    views = cfg.INPUT.VIEWS
    assert tuple(views.CROP_SCALE) == ((0.2, 1.0),) and tuple(views.INTERPOLATION) == ("bilinear",)
    assert tuple(views.BLUR_PROB) == (0.5,) and tuple(views.SOLARIZE_PROB) == (0.0,)
    jitter = (views.BRIGHTNESS, views.CONTRAST, views.SATURATION, views.HUE)
    assert [x[0] for x in jitter] == [0.4, 0.4, 0.4, 0.1]
    # norms of one GPU need shuffled keys, synchronised ones do not
    assert cfg.MODEL.SSL.SHUFFLE_TARGET == (cfg.MODEL.RESNETS.NORM == "BN")


def test_numbers_of_the_contrastive_papers_are_the_defaults():
    cfg = load(CONFIGS / "pretrain" / "dupr_R_50_imagenet.yaml")
    moco, dupr, plrc = cfg.MODEL.MOCO, cfg.MODEL.DUPR, cfg.MODEL.PLRC
    assert (moco.QUEUE_SIZE, moco.OUT_DIM, moco.TEMPERATURE) == (65536, 128, 0.2)
    assert not moco.SYMMETRIC
    assert tuple(dupr.ALPHA) == (0.1, 0.4, 0.7, 1.0) and tuple(dupr.BETA) == (0, 0, 1, 1)
    assert tuple(dupr.ROI_SIZE)[2:] == (14, 7) and dupr.KEYS_PER_IMAGE == 4
    assert (dupr.QUEUE_SIZE, dupr.PATCH_QUEUE_SIZE, dupr.TEMPERATURE) == (65536, 65536, 0.2)
    assert (plrc.GRID, plrc.NUM_REGIONS, plrc.NUM_POINTS, plrc.RESOLUTION) == (4, 16, 16, 64)
    assert (plrc.TEMPERATURE, plrc.STUDENT_TEMPERATURE, plrc.TEACHER_TEMPERATURE) == (
        0.2,
        0.1,
        0.07,
    )
    assert (plrc.ALPHA, plrc.BETA) == (0.5, 0.7)
    cfg = load(CONFIGS / "pretrain" / "point_region_contrast_R_50_imagenet.yaml")
    assert cfg.MODEL.PLRC.WARMUP_EPOCHS == 30
