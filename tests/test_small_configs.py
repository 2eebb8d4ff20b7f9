"""The recipes for small data: each builds, is silent on its own data, and reaches the detectors."""

import functools
import math

import pytest
from helpers import CONFIGS, METHODS, base_config
from test_pretrain_configs import build, settings

from dense_ssl.checkpoint.handover import backbone_settings, mismatches
from dense_ssl.config.machine import resolve_norms
from dense_ssl.config.recipe import recipe_batch
from dense_ssl.data.views.mapper import MultiViewMapper
from dense_ssl.engine.guards import warnings
from dense_ssl.engine.setup import (
    check_pretraining,
    is_pretraining,
    meta_architecture,
)
from dense_ssl.evaluation import check_best_metric
from dense_ssl.modeling import Pretrainer
from dense_ssl.solver import base_lr, resolve_epochs

SMALL = CONFIGS / "small"
PRETRAINING = sorted(x for x in SMALL.glob("pretrain/*/*.yaml"))
FINETUNING = sorted(x for x in SMALL.glob("finetune/*/*.yaml"))
NAMES = {x.yaml for x in METHODS.values()} - {"distillation"}  # its teacher is a file
DETECTORS = {"faster_rcnn_R_18_FPN", "mask_rcnn_R_18_FPN", "retinanet_R_18_FPN"}
# Steps on as many images as the folder is named after, and the photos that a yaml is for.
PRETRAIN_STEPS = {300: 3750, 3000: 9375, 30000: 37500}
PRETRAIN_RANGE = {300: (100, 1000), 3000: (1000, 10000), 30000: (10000, 60000)}
FINETUNE_STEPS = {30: 1125, 300: 3000, 3000: 11250}
FINETUNE_RANGE = {30: (10, 100), 300: (100, 1000), 3000: (1000, 10000)}
# Keys of a method: its own node, and what MoCo's family and third views need.
MOCO = {"moco_v2", "dense_cl", "dupr", "point_region_contrast"}
MOCO_KEYS = {"MODEL.SSL.MOMENTUM.BASE", "MODEL.SSL.MOMENTUM.SCHEDULE", "INPUT.VIEWS.BLUR_PROB",
             "INPUT.VIEWS.SOLARIZE_PROB"}  # fmt: skip
VIEW_KEYS = {f"INPUT.VIEWS.{x}" for x in ("NUM", "SIZE", "CROP", "FLIP_PROB", "BLUR_PROB",
                                          "SOLARIZE_PROB")}  # fmt: skip
OWN_NODES = tuple(f"MODEL.{x}." for x in ("SCRL", "SELF_EMD", "DUPR", "PLRC", "LC_LOSS", "PIXPRO"))


class Log:
    def info(self, *args):
        pass


def name(path):
    return f"{path.parent.name}/{path.stem}"


@functools.cache
def _load(path):
    cfg = base_config()
    cfg.merge_from_file(str(path))
    resolve_norms(cfg, Log())
    return cfg


def load(path, *options):
    """A config as in one process: batch norm need not be synchronised."""
    cfg = _load(path).clone()
    cfg.merge_from_list(list(options))
    return cfg


def images(path):
    return int(path.parent.name)


@pytest.mark.parametrize("kind, sizes, names", [
    ("pretrain", PRETRAIN_STEPS, NAMES), ("finetune", FINETUNE_STEPS, DETECTORS),
])  # fmt: skip
def test_every_size_has_every_method_and_detector(kind, sizes, names):
    found = {(images(x), x.stem) for x in SMALL.glob(f"{kind}/*/*.yaml")}
    assert found == {(size, x) for size in sizes for x in names}
    folders = [load(x).OUTPUT_DIR for x in SMALL.glob(f"{kind}/*/*.yaml")]
    expected = [f"output/small/{kind}/{name(x)}" for x in SMALL.glob(f"{kind}/*/*.yaml")]
    assert folders == expected and len(set(folders)) == len(folders)


@pytest.mark.parametrize("path", [x for x in PRETRAINING if images(x) == 300], ids=name)
def test_a_pretraining_builds_on_p3(path):
    cfg = load(path)
    assert is_pretraining(cfg) and "DEVICE" not in path.read_text()
    check_pretraining(cfg)
    model = build(cfg)
    assert isinstance(model, Pretrainer)
    for objective in model.objectives.values():
        assert "p3" in objective.feature_names()
    assert model.backbone.output_shape()["p3"].stride == 8
    last = max(max(x.online_views + x.target_views) for x in model.objectives.values())
    assert len(MultiViewMapper(cfg).views) == cfg.INPUT.VIEWS.NUM > last


@pytest.mark.parametrize("path", PRETRAINING, ids=name)
def test_methods_differ_from_byol_in_what_is_their_own(path):
    ours, base = settings(load(path)), settings(load(path.with_name("byol.yaml")))
    changed = {key for key, value in ours.items() if base[key] != value}
    changed -= {"OUTPUT_DIR", "MODEL.META_ARCHITECTURE", "MODEL.SSL.OBJECTIVE_WEIGHTS",
                "INPUT.REGIONS.RESOLUTION"}  # fmt: skip
    if path.stem in MOCO:
        changed -= MOCO_KEYS
    if path.stem in ("self_emd", "lc_loss"):
        changed -= VIEW_KEYS
    assert {x for x in changed if not x.startswith(OWN_NODES)} == set()


@pytest.mark.parametrize("path", PRETRAINING, ids=name)
def test_sizes_differ_in_the_schedule_alone(path):
    ours, base = settings(load(path)), settings(load(SMALL / "pretrain/300" / path.name))
    changed = {key for key, value in ours.items() if base[key] != value}
    allowed = {f"SOLVER.{x}" for x in ("BASE_LR", "EPOCHS", "WARMUP_EPOCHS", "CHECKPOINT_EPOCHS")}
    allowed |= {"OUTPUT_DIR", "MODEL.PLRC.WARMUP_EPOCHS"}
    if path.stem in MOCO:
        allowed |= {"MODEL.SSL.MOMENTUM.BASE"}
    assert changed <= allowed


@pytest.mark.parametrize("path", PRETRAINING, ids=name)
def test_a_pretraining_warns_of_nothing_in_its_range(path, caplog):
    for count in (images(path), *PRETRAIN_RANGE[images(path)]):
        cfg = load(path)
        cfg.SOLVER.RECIPE_BATCH = recipe_batch(str(path))
        resolve_epochs(cfg, count)
        meta_architecture(cfg).resolve(cfg, count)  # the queues, which may be too long or too old
        assert not warnings(cfg, count, True, [(320, 240)] * 3)
    assert not [x for x in caplog.records if x.levelname == "WARNING"]


@pytest.mark.parametrize("size, steps", PRETRAIN_STEPS.items())
def test_schedules_of_pretraining(size, steps):
    """Steps of LARS add up like a random walk: (0.01 lr)^2 x steps x 3/8, the mean of the cosine.

    The rule gives the measured 10 and 37 degrees, and growth by 1.25, of 900 steps at 1.0 and 4.0.
    """

    def turned(rate, steps):
        square = (0.01 * rate) ** 2 * steps * 3 / 8
        return math.degrees(math.atan(math.sqrt(square))), math.exp(square / 2)

    assert turned(1.0, 900)[0] == pytest.approx(10, abs=1)
    assert turned(4.0, 900) == pytest.approx((37, 1.25), rel=0.1)
    cfg = load(SMALL / f"pretrain/{size}/point_region_contrast.yaml")
    resolve_epochs(cfg, size)
    meta_architecture(cfg).resolve(cfg, size)
    solver = cfg.SOLVER
    assert solver.MAX_ITER == steps and solver.OPTIMIZER == "LARS"
    angle, growth = turned(base_lr(cfg), steps)
    assert 3 * cfg.MODEL.SSL.MIN_ANGLE < angle < 30 and growth < cfg.MODEL.SSL.MAX_GROWTH
    assert 0.04 < solver.WARMUP_ITERS / steps < 0.11
    assert cfg.MODEL.PLRC.WARMUP_ITERS == pytest.approx(0.15 * steps, abs=1)
    assert 4 <= round(steps / solver.CHECKPOINT_PERIOD) <= 8


@pytest.mark.parametrize("path", FINETUNING, ids=name)
def test_a_detector_warns_of_nothing_in_its_range(path):
    for count in (images(path), *FINETUNE_RANGE[images(path)]):
        cfg = load(path, "DATASETS.TEST", ("coco_2017_val",))
        cfg.SOLVER.RECIPE_BATCH = recipe_batch(str(path))
        resolve_epochs(cfg, count)
        assert not warnings(cfg, count, False)
        check_best_metric(cfg)
        steps = cfg.SOLVER.MAX_ITER
        assert round(steps / cfg.TEST.EVAL_PERIOD) == 10
        assert [round(x / steps, 2) for x in cfg.SOLVER.STEPS] == [0.75, 0.92]
    resolve_epochs(cfg, images(path))
    assert cfg.SOLVER.MAX_ITER == FINETUNE_STEPS[images(path)]


@pytest.mark.parametrize("detector", sorted(DETECTORS))
def test_a_detector_loads_everything_that_was_pretrained(detector):
    """And differs between the sizes in the schedule alone."""
    cfgs = {x: load(SMALL / f"finetune/{x}/{detector}.yaml") for x in FINETUNE_STEPS}
    pretraining = load(SMALL / "pretrain/300/dupr.yaml")
    assert not mismatches(backbone_settings(pretraining), backbone_settings(cfgs[30]))
    ours = {k: x.shape for k, x in build(pretraining.clone()).backbone.state_dict().items()}
    theirs = {k: x.shape for k, x in build(cfgs[30].clone()).backbone.state_dict().items()}
    assert any(x.startswith("fpn_output3") for x in ours) and ours.items() <= theirs.items()
    base = settings(cfgs[30])
    for cfg in cfgs.values():
        changed = {key for key, value in settings(cfg).items() if base[key] != value}
        assert changed <= {
            "OUTPUT_DIR", "SOLVER.EPOCHS", "SOLVER.WARMUP_ITERS", "SOLVER.CHECKPOINT_EPOCHS",
            "TEST.EVAL_EPOCHS", "TEST.PRECISE_BN.NUM_ITER",
        }  # fmt: skip
    mask = detector.startswith("mask")
    assert cfg.MODEL.MASK_ON == mask and cfg.TEST.BEST_METRIC == ("segm/AP" if mask else "bbox/AP")
