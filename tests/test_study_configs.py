"""The configs of the study: each builds its model, and methods differ in what is their own."""

import shlex

import cv2
import numpy as np
import pytest
from detectron2.modeling import build_model
from helpers import CONFIGS, METHODS, ROOT, base_config, load_config, photo
from test_pretrain_configs import build, settings

from dense_ssl.data.views.mapper import MultiViewMapper
from dense_ssl.engine.setup import check_pretraining, is_pretraining
from dense_ssl.modeling import Pretrainer
from dense_ssl.utils.checks import value_of

STUDY = CONFIGS / "study"
FOLDERS = ("camvid", "boxes")
# The feature map of each, and the cells of a view along each axis.
LEVELS = {"camvid": ("res4", 6), "boxes": ("p3", 8)}
PRETRAINING = sorted(
    x for folder in FOLDERS for x in (STUDY / folder).glob("*.yaml")
    if not x.name.startswith("Base") and x.stem not in ("frozen", "whole")
)  # fmt: skip
PROTOCOLS = sorted(x for x in STUDY.glob("*/*.yaml") if x.stem in ("frozen", "whole"))
# Keys of a method: its own node, and what MoCo's family and third views need.
OWN = {
    "moco": {"MODEL.SSL.MOMENTUM.BASE", "MODEL.SSL.MOMENTUM.SCHEDULE", "INPUT.VIEWS.BLUR_PROB",
             "INPUT.VIEWS.SOLARIZE_PROB"},
    "third view": {f"INPUT.VIEWS.{x}" for x in ("NUM", "SIZE", "CROP", "FLIP_PROB", "BLUR_PROB",
                                                "SOLARIZE_PROB")},
}  # fmt: skip
MOCO = ("moco_v2", "dense_cl", "dupr", "point_region_contrast")


def name(path):
    return f"{path.parent.name}/{path.stem}"


def load(path, *options):
    cfg = base_config()
    cfg.merge_from_file(str(path))
    cfg.merge_from_list(["MODEL.RESNETS.NORM", "BN", "MODEL.SSL.HEAD_NORM", "BN", *options])
    return cfg


def pixels(cfg):
    """Pixels of all views of an image."""
    sizes = tuple(cfg.INPUT.VIEWS.SIZE)
    return sum(x * x for x in (sizes * cfg.INPUT.VIEWS.NUM if len(sizes) == 1 else sizes))


def test_both_folders_have_every_method():
    names = {x.yaml for x in METHODS.values()} - {"distillation"}  # its teacher is a file
    for folder in FOLDERS:
        assert {x.stem for x in PRETRAINING if x.parent.name == folder} == names


@pytest.mark.parametrize("path", PRETRAINING, ids=name)
def test_a_pretraining_builds_on_its_level(path):
    cfg = load(path)
    assert is_pretraining(cfg)
    check_pretraining(cfg)
    feature, cells = LEVELS[path.parent.name]
    model = build(cfg)
    assert isinstance(model, Pretrainer)
    for objective in model.objectives.values():
        assert feature in objective.feature_names()
    stride = model.backbone.output_shape()[feature].stride
    views = {-(-x // stride) for x in cfg.INPUT.VIEWS.SIZE}
    assert max(views) == cells - (path.parent.name == "camvid" and path.stem == "lc_loss")
    assert min(views) >= (3 if path.stem == "self_emd" else 4)
    last = max(max(x.online_views + x.target_views) for x in model.objectives.values())
    assert len(MultiViewMapper(cfg).views) == cfg.INPUT.VIEWS.NUM > last


@pytest.mark.parametrize("path", PRETRAINING, ids=name)
def test_a_pretraining_takes_its_views(path, tmp_path):
    file = str(tmp_path / "photo.png")
    cv2.imwrite(file, photo(np.random.default_rng(0), 160, 120))
    cfg = load(path, "MODEL.DEVICE", "cpu")
    losses = build_model(cfg)([MultiViewMapper(cfg)({"file_name": file}, seed=i) for i in range(2)])
    sum(losses.values()).backward()
    assert all(x.isfinite() for x in losses.values())


@pytest.mark.parametrize("path", PRETRAINING, ids=name)
def test_methods_differ_from_byol_in_what_is_their_own(path):
    cfg, base = load(path), load(path.with_name("byol.yaml"))
    changed = {key for key, value in settings(cfg).items() if settings(base)[key] != value}
    changed -= {"OUTPUT_DIR", "MODEL.META_ARCHITECTURE", "MODEL.SSL.OBJECTIVE_WEIGHTS"}
    allowed = set()
    if path.stem in MOCO:
        allowed |= OWN["moco"]
    if path.stem in ("self_emd", "lc_loss"):
        allowed |= OWN["third view"]
    nodes = ("MODEL.SELF_EMD.", "MODEL.DUPR.", "MODEL.PLRC.", "MODEL.RESNETS.OUT_FEATURES",
             "INPUT.REGIONS.RESOLUTION")  # fmt: skip
    assert {x for x in changed - allowed if not x.startswith(nodes)} == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_images_seen_and_view_pixels_are_equal(folder):
    cfgs = {x.stem: load(x) for x in PRETRAINING if x.parent.name == folder}
    images = {k: x.SOLVER.MAX_ITER * x.SOLVER.IMS_PER_BATCH for k, x in cfgs.items()}
    seen = {key: images[key] * pixels(x) / (images["byol"] * pixels(cfgs["byol"]))
            for key, x in cfgs.items()}  # fmt: skip
    assert len(set(images.values())) == 1
    # three views cannot have any size, below a pyramid least of all
    assert 1.0 < seen.pop("lc_loss") < (1.07 if folder == "camvid" else 1.51)
    assert 0.98 < seen.pop("self_emd") < (1.01 if folder == "camvid" else 1.13)
    assert all(0.98 < x <= 1 for x in seen.values())


@pytest.mark.parametrize("path", PROTOCOLS, ids=name)
def test_a_protocol_builds_its_detector(path):
    cfg = load_config(path)
    assert cfg.MODEL.FREEZE_BACKBONE == (path.stem == "frozen") and cfg.DATASETS.TEST
    cfg.MODEL.RESNETS.NORM = cfg.MODEL.FPN.NORM = cfg.MODEL.SEM_SEG_HEAD.NORM = "BN"
    build_model(cfg)
    assert max(cfg.SOLVER.STEPS) < cfg.SOLVER.MAX_ITER


@pytest.mark.parametrize("path", [x for x in PROTOCOLS if x.stem == "frozen"], ids=name)
def test_frozen_and_whole_differ_in_that_and_the_schedule(path):
    frozen, whole = (
        settings(load_config(path.with_name(f"{x}.yaml"))) for x in ("frozen", "whole")
    )
    changed = {x for x in frozen if frozen[x] != whole[x]}
    schedule = {f"SOLVER.{x}" for x in ("BASE_LR", "MAX_ITER", "STEPS", "CHECKPOINT_PERIOD")}
    assert changed - schedule == {"MODEL.FREEZE_BACKBONE", "OUTPUT_DIR"}


@pytest.mark.parametrize("path", PROTOCOLS, ids=name)
def test_a_detector_loads_everything_that_was_pretrained(path):
    folder = "camvid" if path.parent.name == "camvid" else "boxes"
    detector, pretraining = load_config(path), load(STUDY / folder / "scrl.yaml")
    for cfg in (detector, pretraining):
        cfg.MODEL.RESNETS.NORM = cfg.MODEL.FPN.NORM = cfg.MODEL.SEM_SEG_HEAD.NORM = "BN"
    ours = {k: x.shape for k, x in build(pretraining).backbone.state_dict().items()}
    theirs = {k: x.shape for k, x in build(detector).backbone.state_dict().items()}
    assert ours == theirs


@pytest.mark.parametrize("path", sorted(STUDY.glob("*.txt")), ids=lambda x: x.stem)
def test_the_arguments_of_a_study_name_its_yamls(path, monkeypatch):
    from tool_helpers import load_tool

    monkeypatch.chdir(ROOT)
    args = load_tool("compare").parse_arguments([f"@configs/study/{path.name}"])
    protocols = [x.stem for x in map(type(path), args.protocols)]
    own = {"partners": ["frozen"], "photos": ["roi_linear"]}
    assert protocols == own.get(path.stem, ["frozen", "whole"])
    yamls = [x.partition("=")[2] for x in args.backbones if x != "random"]
    assert yamls and all((ROOT / x).is_file() for x in yamls)
    names = [x.partition("=")[0] for x in args.backbones]
    assert set(args.reference) <= set(names) and names[0] == "random"
    assert f"@configs/study/{path.name}" in shlex.join(path.read_text().split())


@pytest.mark.parametrize("path", sorted(STUDY.glob("budget/*k.yaml")), ids=name)
def test_a_longer_pretraining_differs_in_its_length_alone(path):
    method, _, images = path.stem.rpartition("_")
    cfg, base = load(path), load(STUDY / "boxes" / f"{method}.yaml")
    changed = {key for key, value in settings(cfg).items() if settings(base)[key] != value}
    if method == "point_region_contrast":  # its distillation starts after a part of the steps
        changed.remove("MODEL.PLRC.WARMUP_ITERS")
        share = base.MODEL.PLRC.WARMUP_ITERS / base.SOLVER.MAX_ITER
        assert cfg.MODEL.PLRC.WARMUP_ITERS == round(share * cfg.SOLVER.MAX_ITER)
    assert changed == {"OUTPUT_DIR", "SOLVER.CHECKPOINT_PERIOD", "SOLVER.MAX_ITER",
                       "SOLVER.WARMUP_ITERS"}  # fmt: skip
    assert cfg.SOLVER.MAX_ITER * cfg.SOLVER.IMS_PER_BATCH == 1000 * int(images.removesuffix("k"))
    assert cfg.SOLVER.MAX_ITER % cfg.SOLVER.CHECKPOINT_PERIOD == 0
    share = base.SOLVER.WARMUP_ITERS / base.SOLVER.MAX_ITER
    assert cfg.SOLVER.WARMUP_ITERS == int(share * cfg.SOLVER.MAX_ITER)


def test_a_larger_whole_image_is_all_that_differs():
    cfg, base = load(STUDY / "budget" / "lc_loss_128.yaml"), load(STUDY / "boxes" / "lc_loss.yaml")
    changed = {key for key, value in settings(cfg).items() if settings(base)[key] != value}
    assert changed == {"INPUT.VIEWS.SIZE", "OUTPUT_DIR"}
    assert cfg.INPUT.VIEWS.SIZE == (64, 64, 128) and build(cfg)


def test_roi_linear_evaluations_differ_in_their_data_alone():
    cfg, other = (load_config(STUDY / x / "roi_linear.yaml") for x in ("NEU-DET", "photos"))
    changed = {key for key, value in settings(cfg).items() if settings(other)[key] != value}
    assert changed == {"DATASETS.TRAIN", "DATASETS.TEST", "OUTPUT_DIR"}


def test_roi_linear_evaluation_sees_what_the_detector_sees():
    cfg = load_config(STUDY / "NEU-DET" / "roi_linear.yaml")
    detector = load_config(STUDY / "NEU-DET" / "frozen.yaml")
    for key in ("DATASETS.TRAIN", "DATASETS.TEST", "INPUT.MIN_SIZE_TRAIN", "INPUT.MIN_SIZE_TEST",
                "MODEL.TIMM", "MODEL.FPN", "MODEL.RESNETS.OUT_FEATURES"):  # fmt: skip
        assert value_of(cfg, key) == value_of(detector, key), key
    assert cfg.MODEL.ROI_HEADS.IN_FEATURES == detector.MODEL.ROI_HEADS.IN_FEATURES
    assert cfg.SOLVER.EPOCHS == 80
