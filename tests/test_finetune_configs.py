"""Every fine-tuning config: what it changes of detectron2's own, and that its model trains."""

import re

import pytest
import torch
import yaml
from detectron2 import model_zoo
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances, Keypoints
from detectron2.utils.events import EventStorage
from helpers import CONFIGS, ROOT, load_config, short_name

from dense_ssl.engine import Trainer
from dense_ssl.modeling.detectors.freeze import freeze_parameters, hold_frozen

# those of test_semantic_configs.py, test_roi_configs.py and test_image_configs.py
OTHERS = re.compile("(Semantic|RoIClassification|Image-Classification)")
LARGE = sorted(x for x in CONFIGS.glob("finetune/*/*.yaml") if not OTHERS.search(str(x)))
MINI = sorted(x for x in CONFIGS.glob("mini/finetune/*/*.yaml") if not OTHERS.search(str(x)))

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
    "syncbn": {"MODEL.ROI_MASK_HEAD.NORM": "SyncBN", "MODEL.RETINANET.NORM": "SyncBN"},
    "4conv1fc": {"MODEL.ROI_BOX_HEAD.NUM_CONV": 4, "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
                 "MODEL.ROI_BOX_HEAD.NORM": "SyncBN", "MODEL.ROI_MASK_HEAD.NORM": "SyncBN"},
    "18": {"MODEL.RESNETS.DEPTH": 18, "MODEL.RESNETS.RES2_OUT_CHANNELS": 64},
    "101": {"MODEL.RESNETS.DEPTH": 101},
    "1pct": {"DATASETS.TRAIN": ("coco_2017_train_1pct_seed0",)},
    "5pct": {"DATASETS.TRAIN": ("coco_2017_train_5pct_seed0",)},
    "10pct": {"DATASETS.TRAIN": ("coco_2017_train_10pct_seed0",)},
}  # fmt: skip


def documented():
    """{'COCO-Detection/retinanet_R_50_FPN_1x': '90000 x 16'} of the tables in docs/transfer.md."""
    folder, rows = "", {}
    for line in (ROOT / "docs" / "transfer.md").read_text(encoding="utf-8").splitlines():
        if found := re.match(r"\| `configs/finetune/(.*)` \| iterations x batch", line):
            folder = found[1]
        elif found := re.match(r"\| `(.*?_R_\d+_.*?)` \| (\d+ x \d+) \|", line):
            rows[folder + found[1]] = found[2]
    return rows


def test_the_docs_have_every_protocol_with_its_length():
    paths = CONFIGS.glob("finetune/*/*.yaml")
    paths = [x for x in paths if not re.search("RoI|Image-", str(x))]  # in epochs
    cfgs = {short_name(x): load_config(x) for x in paths}
    expected = {k: f"{x.SOLVER.MAX_ITER} x {x.SOLVER.IMS_PER_BATCH}" for k, x in cfgs.items()}
    assert documented() == expected


def flatten(node, prefix=""):
    for key, value in node.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def make_batch(cfg, count=2, height=96, width=128):
    """Training inputs: noise with two objects in each image, as the task labels them."""
    batch = []
    for _ in range(count):
        instances = Instances((height, width))
        boxes = torch.tensor([[8.0, 8.0, 60.0, 90.0], [70.0, 40, 120, 90]])
        instances.gt_boxes = Boxes(boxes)
        instances.gt_classes = torch.tensor([0, 0 if cfg.MODEL.KEYPOINT_ON else 3])
        if cfg.MODEL.MASK_ON:
            masks = torch.zeros(2, height, width, dtype=torch.bool)
            masks[0, 8:90, 8:60] = masks[1, 40:90, 70:120] = True
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
    parts, changes = parts_of(path), {}
    for part in parts:
        changes.update(NAMED.get(part, {}))
    others = "MODEL.ROI_" if "retinanet" in parts else "MODEL.RETINANET."
    return {key: value for key, value in changes.items() if not key.startswith(others)}


def length_of(path):
    """Iterations that a config's name says: '12k' or a multiple of detectron2's 1x."""
    last = path.stem.split("_")[-1]
    return round(float(last[:-1]) * {"k": 1000, "x": 90000}[last[-1]])


def model_of(path):
    """The part of a config's name that says its model, without data and schedule."""
    return re.sub(r"(_\d+pct)?(_[\d.]+[kx])?$", "", path.stem)


# Schedules and data differ in the others, models do not.
LARGE_MODELS = list({model_of(x): x for x in LARGE}.values())
MINI_MODELS = list({model_of(x): x for x in MINI}.values())


def test_every_config_is_known():
    assert {task_of(x) for x in LARGE} == set(ORIGINALS)
    # each task and kind of detector has a form for two cores
    assert {task_of(x) for x in MINI} >= {x for x in ORIGINALS if "FewLabels/faster" not in x}


@pytest.mark.parametrize("path", LARGE, ids=short_name)
def test_nothing_but_the_recipe_differs_from_detectron2(path):
    theirs = dict(flatten(model_zoo.get_config(f"{ORIGINALS[task_of(path)]}.yaml")))
    ours = dict(flatten(load_config(path)))
    changed = {k for k in theirs if ours[k] != theirs[k]}
    expected = {**RECIPE, **named_changes(path)}
    expected["SOLVER.MAX_ITER"] = length_of(path)
    if not ours["MODEL.MASK_ON"]:
        expected.pop("MODEL.ROI_MASK_HEAD.NORM", None)
    assert {k: ours[k] for k in expected} == expected
    free = {"MODEL.DEVICE", "OUTPUT_DIR", "MODEL.ROI_MASK_HEAD.NORM", "TEST.EVAL_PERIOD"}
    assert changed <= {*expected, *free, "SOLVER.STEPS"}
    assert all(0.6 < x / ours["SOLVER.MAX_ITER"] < 1 for x in ours["SOLVER.STEPS"])


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


@pytest.mark.parametrize("path", LARGE_MODELS, ids=short_name)
def test_large_models_synchronise_batch_norm_and_train_every_weight(path):
    cfg = load_config(path)
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build_model(cfg)
    norms = [type(x).__name__ for x in model.backbone.modules() if "Norm" in type(x).__name__]
    assert len(norms) >= 20 and set(norms) <= {"SyncBatchNorm", "NaiveSyncBatchNorm"}
    if hasattr(model, "proposal_generator"):
        assert not any("Norm" in type(x).__name__ for x in model.proposal_generator.modules())
    assert all(x.requires_grad for x in model.parameters())


@pytest.mark.parametrize(
    "path", [x for x in LARGE_MODELS if "syncbn" in x.stem], ids=lambda x: x.stem
)
def test_syncbn_models_normalise_every_new_layer_that_detectron2_can(path):
    """All convolutions before the last of each head; the plain form has none there."""
    counts = []
    for file in (path, path.with_name(path.name.replace("_syncbn", ""))):
        with torch.device("meta"):
            cfg = load_config(file)
            cfg.MODEL.DEVICE = "meta"
            model = build_model(cfg)
        head = model.head if "retinanet" in path.stem else model.roi_heads.mask_head
        kinds = [type(x).__name__ for x in head.modules()]
        counts.append((kinds.count("SyncBatchNorm"), kinds.count("CycleBatchNormList")))
    # RetinaNet: 2 heads of 4 layers, 5 levels; mask head: 4 layers
    assert counts == [(40, 8) if "retinanet" in path.stem else (4, 0), (0, 0)]


def test_a_box_head_of_fully_connected_layers_has_nothing_to_normalise():
    """So the Faster R-CNNs of SCRL are those of the plain form."""
    cfg = load_config(CONFIGS / "finetune" / "COCO-Detection" / "faster_rcnn_R_50_FPN_1x.yaml")
    cfg.MODEL.DEVICE, states = "meta", []
    for norm in ("", "SyncBN"):
        for node in (cfg.MODEL.ROI_BOX_HEAD, cfg.MODEL.ROI_MASK_HEAD, cfg.MODEL.RETINANET):
            node.NORM = norm
        with torch.device("meta"):
            states.append(set(build_model(cfg).state_dict()))
    assert states[0] == states[1]


def load_mini(path):
    """The config of a mini model that trains on few regions."""
    cfg = load_config(path)
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 8
    return cfg


@pytest.mark.parametrize("path", MINI_MODELS, ids=short_name)
def test_mini_models_train_freeze_and_infer(path):
    torch.manual_seed(0)
    cfg = load_mini(path)
    assert cfg.MODEL.RESNETS.DEPTH == 18 and cfg.SOLVER.MAX_ITER <= 30
    model = build_model(cfg).train()
    losses = take_step(model, cfg)
    assert ("loss_mask" in losses) == cfg.MODEL.MASK_ON
    assert ("loss_keypoint" in losses) == cfg.MODEL.KEYPOINT_ON
    names = {k for k, _ in model.named_parameters()}
    assert trained(model) == names

    freeze_parameters(model)
    hold_frozen(model)
    pretrained = tuple(f"backbone.{x}" for x in ("bottom_up.", "stem.", "res"))
    frozen = {
        x for x in names if x.startswith((*pretrained, "roi_heads.res5.")) and "res5.norm" not in x
    }
    assert {k for k, x in model.named_parameters() if not x.requires_grad} == frozen
    model.zero_grad(set_to_none=True)
    take_step(model, cfg)
    assert trained(model) == names - frozen

    with torch.no_grad():
        (output,) = model.eval()(make_batch(cfg, 1))
    assert len(output["instances"]) <= cfg.TEST.DETECTIONS_PER_IMAGE


@pytest.mark.parametrize("path", MINI_MODELS, ids=short_name)
def test_mini_models_train_in_channels_last(path):
    cfg = load_mini(path)
    cfg.MODEL.CHANNELS_LAST = True
    take_step(Trainer.build_model(cfg).train(), cfg)


def take_step(model, cfg):
    """Add the gradients of a batch; return its losses."""
    with EventStorage():
        losses = model(make_batch(cfg))
    sum(losses.values()).backward()
    assert all(torch.isfinite(x) for x in losses.values())
    return losses


def trained(model):
    """The names of the parameters that have a gradient."""
    return {k for k, x in model.named_parameters() if x.grad is not None}
