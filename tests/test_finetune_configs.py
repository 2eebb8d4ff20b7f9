"""Every fine-tuning config: what it changes of detectron2's own, and that its model runs."""

import logging
import re
from collections import Counter

import pytest
import torch
import yaml
from detectron2 import model_zoo
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances, Keypoints
from detectron2.utils.events import EventStorage
from helpers import CONFIGS, load_config, short_name

import dense_ssl.modeling.detectors.roi_heads  # noqa: F401  (only registration)
from dense_ssl.data.sources.subsets import subset_ids
from dense_ssl.engine import Trainer
from dense_ssl.engine.setup import resolve_norms
from dense_ssl.modeling.detectors.freeze import freeze_parameters, hold_frozen

# those of semantic segmentation are in test_semantic_configs.py
LARGE = sorted(x for x in CONFIGS.glob("finetune/*/*.yaml") if "Semantic" not in str(x))
MINI = sorted(x for x in CONFIGS.glob("mini/finetune/*/*.yaml") if "Semantic" not in str(x))

# detectron2's own config of each task, which ours are variants of.
ORIGINALS = {
    "COCO-InstanceSegmentation/mask_rcnn_FPN": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x",
    "COCO-InstanceSegmentation/mask_rcnn_C4": "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x",
    "COCO-Detection/faster_rcnn_FPN": "COCO-Detection/faster_rcnn_R_50_FPN_1x",
    "COCO-Detection/retinanet_FPN": "COCO-Detection/retinanet_R_50_FPN_1x",
    "COCO-Keypoints/keypoint_rcnn_FPN": "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x",
    "COCO-FewLabels/mask_rcnn_FPN": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x",
    "COCO-FewLabels/faster_rcnn_FPN": "COCO-Detection/faster_rcnn_R_50_FPN_1x",
    "Cityscapes-InstanceSegmentation/mask_rcnn_FPN": "Cityscapes/mask_rcnn_R_50_FPN",
    "PascalVOC-Detection/faster_rcnn_FPN": "PascalVOC-Detection/faster_rcnn_R_50_FPN",
    "PascalVOC-Detection/faster_rcnn_C4": "PascalVOC-Detection/faster_rcnn_R_50_C4",
}
# What MoCo's recipe changes, with the values of the colours in RGB.
RECIPE = {
    "MODEL.WEIGHTS": "",
    "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
    "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
    "MODEL.BACKBONE.FREEZE_AT": 0,
    "MODEL.RESNETS.NORM": "SyncBN",
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.FPN.NORM": "SyncBN",
    "INPUT.FORMAT": "RGB",
    "TEST.PRECISE_BN.ENABLED": True,
}
# What a part of a config's name changes beyond it.
NAMED = {
    "C4": {"MODEL.ROI_HEADS.NAME": "Res5ROIHeadsExtraNorm"},
    "4conv1fc": {"MODEL.ROI_BOX_HEAD.NUM_CONV": 4, "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
                 "MODEL.ROI_BOX_HEAD.NORM": "SyncBN", "MODEL.ROI_MASK_HEAD.NORM": "SyncBN"},
    "18": {"MODEL.RESNETS.DEPTH": 18, "MODEL.RESNETS.RES2_OUT_CHANNELS": 64},
    "101": {"MODEL.RESNETS.DEPTH": 101},
    "1pct": {"DATASETS.TRAIN": ("coco_2017_train_1pct_seed0",)},
    "5pct": {"DATASETS.TRAIN": ("coco_2017_train_5pct_seed0",)},
    "10pct": {"DATASETS.TRAIN": ("coco_2017_train_10pct_seed0",)},
}  # fmt: skip
# Learning-rate drops and length of each schedule: of the papers and of detectron2; the short ones
# on COCO have DetCo's drops, at 3/4 and 11/12.
SCHEDULES = {
    "0.5x": ((30000, 40000), 45000), "1x": ((60000, 80000), 90000),
    "2x": ((120000, 160000), 180000), "3x": ((180000, 240000), 270000),
    "5x": ((300000, 400000), 450000), "7x": ((420000, 560000), 630000),
    "12k": ((9000, 11000), 12000), "18k": ((13500, 16500), 18000),
    "36k": ((27000, 33000), 36000), "15k": ((11250, 13750), 15000),
    "60k": ((45000, 55000), 60000),
    "VOC 24k": ((18000, 22000), 24000), "VOC 18k": ((12000, 16000), 18000),
    "Cityscapes 24k": ((18000,), 24000),
}  # fmt: skip
# Learning rate, batch, warm-up, sizes of training images (smallest, largest), of test images.
COCO_RECIPE = (0.02, 16, 1000, (640, 800), 800)
RECIPES = {
    "retinanet": (0.01, *COCO_RECIPE[1:]),
    "PascalVOC": (0.02, 16, 100, (480, 800), 800),
    "Cityscapes": (0.01, 8, 1000, (800, 1024), 1024),
}


def flatten(node, prefix=""):
    for key, value in node.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def make_batch(cfg, count=2, height=128, width=160):
    """Training inputs: noise with two objects in each image, as the task labels them."""
    batch = []
    for _ in range(count):
        instances = Instances((height, width))
        boxes = torch.tensor([[8.0, 8.0, 60.0, 90.0], [70.0, 40, 150, 120]])
        instances.gt_boxes = Boxes(boxes)
        instances.gt_classes = torch.tensor([0, 0 if cfg.MODEL.KEYPOINT_ON else 3])
        if cfg.MODEL.MASK_ON:
            masks = torch.zeros(2, height, width, dtype=torch.bool)
            masks[0, 8:90, 8:60] = masks[1, 40:120, 70:150] = True
            instances.gt_masks = BitMasks(masks)
        if cfg.MODEL.KEYPOINT_ON:
            places = torch.rand(2, cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS, 2)
            points = boxes[:, None, :2] + places * (boxes[:, None, 2:] - boxes[:, None, :2])
            visible = torch.full((*points.shape[:2], 1), 2.0)
            instances.gt_keypoints = Keypoints(torch.cat([points, visible], dim=2))
        image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
        batch.append({"image": image, "height": height, "width": width, "instances": instances})
    return batch


def task_of(path):
    """'COCO-Detection/faster_rcnn_R_50_FPN_3x' -> 'COCO-Detection/faster_rcnn_FPN'."""
    return re.sub(r"_R_\d+(_[A-Z]\w\d?[A-Z]?|_C4|_FPN).*", r"\1", short_name(path))


def parts_of(path):
    """The parts of a config's name: {'faster', 'rcnn', 'R', '50', 'FPN', '3x'}."""
    return set(path.stem.split("_"))


def named_changes(path):
    """Keys that a config's name says it changes, of those that its detector has."""
    changes = {}
    for part in parts_of(path):
        changes.update(NAMED.get(part, {}))
    return changes


def schedule_of(path):
    """The entry of SCHEDULES for a config."""
    last = path.stem.split("_")[-1]
    place = path.parent.name.partition("-")[0].replace("Pascal", "")
    return SCHEDULES[f"{place} {last}" if f"{place} {last}" in SCHEDULES else last]


def test_every_config_is_known():
    assert {task_of(x) for x in LARGE} == set(ORIGINALS)
    # each task and kind of detector has a form for two cores
    assert {task_of(x) for x in MINI} >= {x for x in ORIGINALS if "FewLabels/faster" not in x}


def test_every_protocol_is_on_the_page_of_protocols():
    page = (CONFIGS.parent / "docs" / "transfer.md").read_text(encoding="utf-8")
    tables = page[page.index("<!-- protocols -->") : page.index("<!-- end -->")]
    names = set(re.findall(r"^\| `([\w./-]+)` \|", tables, re.MULTILINE))
    protocols = CONFIGS.glob("finetune/*/*.yaml")
    assert {x.split("/")[-1] for x in names} - {""} == {x.stem for x in protocols}


@pytest.mark.parametrize("path", LARGE, ids=short_name)
def test_nothing_but_the_recipe_differs_from_detectron2(path):
    theirs = dict(flatten(model_zoo.get_config(f"{ORIGINALS[task_of(path)]}.yaml")))
    ours = dict(flatten(load_config(path)))
    changed = {k for k in theirs if ours[k] != theirs[k]}
    expected = {**RECIPE, **named_changes(path)}
    expected["SOLVER.STEPS"], expected["SOLVER.MAX_ITER"] = schedule_of(path)
    if not ours["MODEL.MASK_ON"]:
        expected.pop("MODEL.ROI_MASK_HEAD.NORM", None)
    assert {k: ours[k] for k in expected} == expected
    free = {"MODEL.DEVICE", "OUTPUT_DIR", "MODEL.ROI_MASK_HEAD.NORM", "TEST.EVAL_PERIOD"}
    assert changed <= set(expected) | free


@pytest.mark.parametrize("path", LARGE, ids=short_name)
def test_recipes_are_those_of_the_papers(path):
    cfg, name = load_config(path), short_name(path)
    recipe = next((x for key, x in RECIPES.items() if key in name), COCO_RECIPE)
    solver, sizes = cfg.SOLVER, cfg.INPUT.MIN_SIZE_TRAIN
    assert recipe == (
        solver.BASE_LR, solver.IMS_PER_BATCH, solver.WARMUP_ITERS, (min(sizes), max(sizes)),
        cfg.INPUT.MIN_SIZE_TEST,
    )  # fmt: skip
    assert set(range(min(sizes), max(sizes) + 1, 32)) == set(sizes)
    assert solver.WEIGHT_DECAY == 1e-4 and solver.MOMENTUM == 0.9 and solver.GAMMA == 0.1
    assert cfg.MODEL.RPN.CONV_DIMS == [-1] and cfg.MODEL.RETINANET.NORM == ""  # no norm there


@pytest.mark.parametrize("path", LARGE, ids=short_name)
def test_the_arithmetic_of_the_comments_is_right(path):
    text = path.read_text()
    sums = re.findall(r"(\d+) x (\d+) / (\d+)[\w .+]* = ([\d.]+) epochs", text)
    cfg = load_config(path)
    for iterations, batch, images, epochs in sums:
        assert (int(iterations), int(batch)) == (cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH)
        exact = int(iterations) * int(batch) / int(images)
        assert abs(exact - float(epochs)) <= (0.05 if "." in epochs else 0.5)
    assert sums or "As faster_rcnn" in text
    for percent, images in re.findall(r"(\d+) % of 118287 = (\d+) images", text):
        assert len(subset_ids(range(118287), float(percent), 0)) == int(images)


@pytest.mark.parametrize("path", LARGE + MINI, ids=short_name)
def test_colours_and_strides_are_those_of_pretraining(path):
    ours, shared = load_config(path), load_config(CONFIGS / "Base-Input.yaml")
    for key in ("PIXEL_MEAN", "PIXEL_STD"):
        assert ours.MODEL[key] == shared.MODEL[key]
    for key in ("NORM", "STRIDE_IN_1X1"):
        assert ours.MODEL.RESNETS[key] == shared.MODEL.RESNETS[key]
    assert ours.INPUT.FORMAT == shared.INPUT.FORMAT == "RGB"
    assert ours.OUTPUT_DIR.endswith(short_name(path))


@pytest.mark.parametrize("path", [*CONFIGS.glob("Base-*.yaml"), *LARGE, *MINI], ids=short_name)
def test_yaml_is_plain(path):
    with open(path) as file:
        yaml.safe_load(file)


def distinct_models():
    """One config of each model among the large ones: schedules and data differ, models do not."""
    found = {}
    for path in LARGE:
        cfg = load_config(path)
        found.setdefault(cfg.MODEL.dump(), path)
    return list(found.values())


@pytest.mark.parametrize("path", distinct_models(), ids=short_name)
def test_large_models_build_and_train(path):
    cfg = load_config(path)
    norms = Counter(type(x).__name__ for x in build_model(cfg).backbone.modules())
    assert norms["NaiveSyncBatchNorm"] + norms["SyncBatchNorm"] >= 20
    resolve_norms(cfg, logging.getLogger(__name__))
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 16  # each of 512 regions runs through res5 of C4
    model = build_model(cfg).train()
    if hasattr(model, "proposal_generator"):
        assert not any("Norm" in type(x).__name__ for x in model.proposal_generator.modules())
    assert all(x.requires_grad for x in model.parameters())
    with EventStorage():
        losses = model(make_batch(cfg, height=96, width=128))
    sum(losses.values()).backward()
    assert all(torch.isfinite(x) for x in losses.values())
    without = [k for k, x in model.named_parameters() if x.grad is None]
    assert not without


@pytest.mark.parametrize("path", MINI, ids=short_name)
def test_mini_models_train_and_infer(path):
    torch.manual_seed(0)
    cfg = load_config(path)
    assert cfg.MODEL.RESNETS.DEPTH == 18 and cfg.SOLVER.MAX_ITER <= 30
    model = build_model(cfg).train()
    with EventStorage():
        losses = model(make_batch(cfg))
    sum(losses.values()).backward()
    assert all(torch.isfinite(x) for x in losses.values())
    assert ("loss_mask" in losses) == cfg.MODEL.MASK_ON
    assert ("loss_keypoint" in losses) == cfg.MODEL.KEYPOINT_ON
    without = [k for k, x in model.named_parameters() if x.requires_grad and x.grad is None]
    assert not without
    with torch.no_grad():
        (output,) = model.eval()(make_batch(cfg, 1))
    assert len(output["instances"]) <= cfg.TEST.DETECTIONS_PER_IMAGE


@pytest.mark.parametrize("path", MINI, ids=short_name)
def test_mini_models_train_in_channels_last(path):
    cfg = load_config(path)
    cfg.MODEL.CHANNELS_LAST = True
    model = Trainer.build_model(cfg).train()
    with EventStorage(), torch.autocast("cpu", torch.bfloat16):
        losses = model(make_batch(cfg))
    sum(losses.values()).backward()
    assert all(torch.isfinite(x) for x in losses.values())


@pytest.mark.parametrize("path", MINI, ids=short_name)
def test_one_key_freezes_the_backbone_of_every_detector(path):
    cfg = load_config(path)
    model = build_model(cfg).train()
    freeze_parameters(model)
    hold_frozen(model)
    frozen = {k for k, x in model.named_parameters() if not x.requires_grad}
    names = {k for k, _ in model.named_parameters()}
    pretrained = tuple(f"backbone.{x}" for x in ("bottom_up.", "stem.", "res"))
    assert frozen == {
        x for x in names if x.startswith((*pretrained, "roi_heads.res5.")) and "res5.norm" not in x
    }
    with EventStorage():
        sum(model(make_batch(cfg)).values()).backward()
    learnt = {k for k, x in model.named_parameters() if x.grad is not None}
    assert learnt == names - frozen
