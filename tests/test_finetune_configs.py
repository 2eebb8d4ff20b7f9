"""Every fine-tuning config: what it changes of detectron2's own, and that its model runs."""

import pytest
import torch
import yaml
from detectron2 import model_zoo
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage
from helpers import CONFIGS, base_config

import dense_ssl.modeling.roi_heads  # noqa: F401  (only registration)

# those of semantic segmentation are in test_semantic_configs.py
LARGE = sorted(x for x in CONFIGS.glob("finetune/*/*.yaml") if "Semantic" not in str(x))
MINI = sorted(x for x in CONFIGS.glob("mini/finetune/*/*.yaml") if "Semantic" not in str(x))

# Our configs and the ones of detectron2 that they are variants of.
ORIGINALS = {
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x": "",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x": "",
    "COCO-Detection/faster_rcnn_R_50_FPN_1x": "",
    "COCO-Detection/retinanet_R_50_FPN_1x": "",
    "PascalVOC-Detection/faster_rcnn_R_50_FPN_18k": "PascalVOC-Detection/faster_rcnn_R_50_FPN",
    "PascalVOC-Detection/faster_rcnn_R_50_C4_24k": "PascalVOC-Detection/faster_rcnn_R_50_C4",
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
C4_RECIPE = {"MODEL.ROI_HEADS.NAME": "Res5ROIHeadsExtraNorm"}
MOCO_24K = {"SOLVER.STEPS": (18000, 22000), "SOLVER.MAX_ITER": 24000}


def load(path):
    cfg = base_config()
    cfg.merge_from_file(str(path))
    cfg.MODEL.DEVICE = "cpu"
    return cfg


def short_name(path):
    return f"{path.parent.name}/{path.stem}"


def flatten(node, prefix=""):
    for key, value in node.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def make_batch(cfg, count=2, height=128, width=160):
    """Training inputs: noise with two boxes and their masks in each image."""
    batch = []
    for _ in range(count):
        instances = Instances((height, width))
        instances.gt_boxes = Boxes(torch.tensor([[8.0, 8.0, 60.0, 90.0], [70.0, 40, 150, 120]]))
        instances.gt_classes = torch.tensor([0, 3])
        if cfg.MODEL.MASK_ON:
            masks = torch.zeros(2, height, width, dtype=torch.bool)
            masks[0, 8:90, 8:60] = masks[1, 40:120, 70:150] = True
            instances.gt_masks = BitMasks(masks)
        image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
        batch.append({"image": image, "height": height, "width": width, "instances": instances})
    return batch


def test_every_config_is_known():
    assert {short_name(x) for x in LARGE} == set(ORIGINALS)
    assert len(MINI) == len(LARGE)


@pytest.mark.parametrize("path", LARGE, ids=short_name)
def test_nothing_but_the_recipe_differs_from_detectron2(path):
    name = short_name(path)
    theirs = dict(flatten(model_zoo.get_config(f"{ORIGINALS[name] or name}.yaml")))
    ours = dict(flatten(load(path)))
    changed = {k for k in theirs if ours[k] != theirs[k]}
    expected = dict(RECIPE)
    if "C4" in name:
        expected.update(C4_RECIPE)
    if "24k" in name:
        expected.update(MOCO_24K)
    assert {k: ours[k] for k in expected} == expected
    assert changed <= set(expected) | {"MODEL.DEVICE", "OUTPUT_DIR"}


@pytest.mark.parametrize("path", LARGE + MINI, ids=short_name)
def test_colours_and_strides_are_those_of_pretraining(path):
    ours, shared = load(path), load(CONFIGS / "Base-Input.yaml")
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


@pytest.mark.parametrize("path", LARGE, ids=short_name)
def test_models_build(path):
    cfg = load(path)
    model = build_model(cfg)
    assert any("SyncBatchNorm" in type(x).__name__ for x in model.backbone.modules())
    if hasattr(model, "proposal_generator"):
        norms = [x for x in model.proposal_generator.modules() if "Norm" in type(x).__name__]
        assert not norms
    assert all(x.requires_grad for x in model.backbone.parameters())


@pytest.mark.parametrize("path", MINI, ids=short_name)
def test_mini_models_train_and_infer(path):
    torch.manual_seed(0)
    cfg = load(path)
    assert cfg.MODEL.RESNETS.DEPTH == 18 and cfg.SOLVER.MAX_ITER <= 30
    model = build_model(cfg).train()
    with EventStorage():
        losses = model(make_batch(cfg))
    sum(losses.values()).backward()
    assert all(torch.isfinite(x) for x in losses.values())
    assert ("loss_mask" in losses) == cfg.MODEL.MASK_ON
    without = [k for k, x in model.named_parameters() if x.requires_grad and x.grad is None]
    assert not without
    with torch.no_grad():
        (output,) = model.eval()(make_batch(cfg, 1))
    assert len(output["instances"]) <= cfg.TEST.DETECTIONS_PER_IMAGE
