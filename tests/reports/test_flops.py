"""Counted multiply-adds against published numbers, fvcore and hand-computed values."""

import fvcore.nn
import pytest
import torch
import torchvision
from detectron2.modeling import build_backbone, build_model
from detectron2.utils.events import EventStorage
from helpers import CONFIGS, base_config
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dense_ssl.modeling.detectors.freeze import freeze_parameters
from dense_ssl.reports.dummy_inputs import OBJECTS, WITH_KEYPOINTS, dummy_inputs, narrow_boxes
from dense_ssl.reports.flops import MultiplyAdds, count_forward, frozen_parts

MINI = CONFIGS / "mini" / "finetune"
C4 = MINI / "PascalVOC-Detection" / "faster_rcnn_R_18_C4.yaml"
MASK_RCNN = MINI / "COCO-InstanceSegmentation" / "mask_rcnn_R_18_FPN.yaml"
RETINANET = MINI / "COCO-Detection" / "retinanet_R_18_FPN.yaml"


def config(path, *options):
    cfg = base_config()
    cfg.merge_from_file(str(path))
    cfg.merge_from_list(["MODEL.RESNETS.NORM", "BN", "MODEL.FPN.NORM", "BN", *options])
    return cfg


def test_resnet_50_has_its_published_multiply_adds():
    network = torchvision.models.resnet50()
    count = count_forward(network, torch.zeros(1, 3, 224, 224))
    known = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.meta["_ops"]  # in billions
    assert count.total == 4_089_184_256 and known == pytest.approx(count.total / 1e9, abs=1e-3)
    assert count.frozen == 0


def test_resnet_50_of_detectron2_is_the_same_without_its_classifier():
    cfg = base_config("MODEL.RESNETS.NORM", "BN", "MODEL.RESNETS.STRIDE_IN_1X1", False,
                      "MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.BACKBONE.FREEZE_AT", 0,
                      "MODEL.RESNETS.OUT_FEATURES", ["res5"])  # fmt: skip
    count = count_forward(build_backbone(cfg), torch.zeros(1, 3, 224, 224))
    assert count.total == 4_089_184_256 - 2048 * 1000


@pytest.mark.parametrize(
    "module, shape, by_hand",
    [
        (nn.Linear(7, 5), (3, 7), 3 * 7 * 5),
        (nn.Conv2d(4, 6, 3, padding=1, groups=2), (1, 4, 10, 8), 10 * 8 * 6 * 2 * 9),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (2, 4, 5, 5), 2 * 25 * 4 * 6 * 4),
    ],
)
def test_layers_by_hand(module, shape, by_hand):
    assert count_forward(module, torch.zeros(shape)).total == by_hand


def test_attention_is_counted():
    attention = nn.MultiheadAttention(16, 2, batch_first=True)

    class SelfAttention(nn.Module):
        def forward(self, x):
            return attention(x, x, x, need_weights=False)[0]

    # 10 tokens: four projections of 16 x 16, queries by keys, weights by values
    count = count_forward(SelfAttention(), torch.zeros(1, 10, 16))
    assert count.total == 4 * 10 * 16 * 16 + 2 * 10 * 10 * 16


def test_feature_pyramids_agree_with_fvcore():
    backbone = build_backbone(config(RETINANET)).eval()
    image = torch.zeros(1, 3, 128, 160)
    oracle = fvcore.nn.FlopCountAnalysis(backbone, image).unsupported_ops_warnings(False)
    oracle.uncalled_modules_warnings(False)
    assert count_forward(backbone, image).total == oracle.by_operator()["conv"]


def test_nothing_is_computed_and_the_model_is_unchanged():
    conv = nn.Conv2d(1, 1, 1, bias=False)
    conv.requires_grad_(False)
    seen = []
    conv.register_forward_hook(lambda module, inputs, output: seen.append(output.sum().item()))
    assert count_forward(conv, torch.ones(1, 1, 2, 2)) == MultiplyAdds(4, 4)
    assert seen == [0.0]
    assert len(conv._forward_hooks) == 1 and not conv._forward_pre_hooks
    assert conv(torch.ones(1, 1, 2, 2)).abs().sum() > 0


@pytest.mark.parametrize(
    "regions, expected",
    [
        (
            512,
            {
                "box_head": 512,
                "mask_head.mask_fcn1": OBJECTS,
                "keypoint_head.conv_fcn1": WITH_KEYPOINTS,
            },
        ),
        (32, {"box_head": 32, "mask_head.mask_fcn1": 32 // 4}),  # at most a quarter are objects
    ],
)
def test_heads_get_their_share_of_the_regions(regions, expected):
    cfg = config(MASK_RCNN, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", regions,
                 "MODEL.RPN.POST_NMS_TOPK_TRAIN", 1000, "MODEL.RPN.PRE_NMS_TOPK_TRAIN", 2000,
                 "MODEL.KEYPOINT_ON", True, "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS", (8,))  # fmt: skip
    model = build_model(cfg).train()
    seen = {}
    for name in expected:
        model.roi_heads.get_submodule(name).register_forward_pre_hook(
            lambda module, inputs, name=name: seen.update({name: len(inputs[0])})
        )
    count_forward(model, dummy_inputs(cfg, 480, 640))
    assert seen == expected


def test_narrow_boxes_match_no_anchor():
    boxes = torch.from_numpy(narrow_boxes(64, 480, 640))
    assert boxes.min() >= 0 and (boxes[:, 2] <= 640).all() and (boxes[:, 3] <= 480).all()
    iou = torchvision.ops.box_iou(boxes, boxes)
    assert torch.equal(iou, torch.eye(64))
    wide = (boxes[0, 2] - boxes[0, 0]).item()
    # the best box of the anchors' largest ratio, 2, has the same centre
    sizes = torch.linspace(0.1, 1.2, 500) * wide
    centre = (boxes[0, :2] + boxes[0, 2:]) / 2
    halves = torch.stack([sizes, sizes / 2], dim=1) / 2
    anchors = torch.cat([centre - halves, centre + halves], dim=1)
    assert torchvision.ops.box_iou(boxes[:1], anchors).max() < 0.5


def test_three_times_the_forward_pass_is_what_autograd_does():
    """Without the backward pass of a frozen backbone."""
    for freeze in (False, True):
        cfg = config(RETINANET)
        model = build_model(cfg).train()
        if freeze:
            freeze_parameters(model)
        batch = dummy_inputs(cfg, 96, 128)
        ours = count_forward(model, batch)
        with EventStorage(), FlopCounterMode(display=False) as counter:
            sum(model(batch).values()).backward()
        assert ours.training_flops == pytest.approx(counter.get_total_flops(), rel=0.05)
        assert (ours.frozen > 0.2 * ours.total) == freeze


def test_frozen_parts_are_those_that_do_not_train():
    model = build_model(config(C4))
    assert frozen_parts(model) == []
    freeze_parameters(model)
    blocks = [
        f"GeneralizedRCNN.roi_heads.res5.{x}" for x, _ in model.roi_heads.res5.named_children()
    ]
    assert frozen_parts(model) == [
        "GeneralizedRCNN.backbone", *(x for x in blocks if not x.endswith("norm"))
    ]  # fmt: skip
