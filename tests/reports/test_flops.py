"""Counting multiply-adds: against known numbers, fvcore, and counts by hand."""

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


def test_resnet_50_has_its_known_4_1_g_multiply_adds():
    network = torchvision.models.resnet50()
    count = count_forward(network, torch.zeros(1, 3, 224, 224))
    known = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.meta["_ops"]  # in thousand millions
    assert count.total == 4_089_184_256 and known == pytest.approx(count.total / 1e9, abs=1e-3)
    assert count.frozen == 0


def test_detectron2s_resnet_50_is_the_same_without_its_classifier():
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


def test_nothing_is_computed_and_nothing_is_left_behind():
    conv = nn.Conv2d(1, 1, 1, bias=False)
    conv.requires_grad_(False)
    seen = []
    conv.register_forward_hook(lambda module, inputs, output: seen.append(output.sum().item()))
    assert count_forward(conv, torch.ones(1, 1, 2, 2)) == MultiplyAdds(4, 4)
    assert seen == [0.0]
    assert len(conv._forward_hooks) == 1 and not conv._forward_pre_hooks
    assert conv(torch.ones(1, 1, 2, 2)).abs().sum() > 0


def test_regions_by_hand():
    """512 regions go through the box head, OBJECTS through the mask head."""
    options = ["MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 512, "MODEL.RPN.POST_NMS_TOPK_TRAIN", 1000,
               "MODEL.RPN.PRE_NMS_TOPK_TRAIN", 2000]  # fmt: skip
    counts = {}
    for mask_on in (True, False):
        cfg = config(MASK_RCNN, "MODEL.MASK_ON", mask_on, *options)
        heads = Watched()
        model = build_model(cfg).train()
        model.roi_heads.box_head.register_forward_pre_hook(heads)
        counts[mask_on] = count_forward(model, dummy_inputs(cfg, 480, 640)).total
        assert heads.batches == [512]
    # one 3x3 convolution, one transposed 2x2 and the classifier, all on 64 or 32 channels
    mask_head = 14 * 14 * 9 * 64 * 32 + 14 * 14 * 4 * 32 * 32 + 28 * 28 * 32 * 80
    assert counts[True] - counts[False] == OBJECTS * mask_head


class Watched:
    """Records how many regions a head gets."""

    def __init__(self):
        self.batches = []

    def __call__(self, module, inputs):
        self.batches.append(len(inputs[0]))


def test_the_share_of_objects_is_kept():
    cfg = config(MASK_RCNN)
    heads = Watched()
    model = build_model(cfg).train()
    model.roi_heads.mask_head.layers = heads_forward(model.roi_heads.mask_head.layers, heads)
    count_forward(model, dummy_inputs(cfg, 128, 160))
    assert heads.batches == [32 // 4]


def heads_forward(function, heads):
    def watched(x):
        heads(None, [x])
        return function(x)

    return watched


def test_keypoint_heads_get_the_regions_with_keypoints():
    options = ["MODEL.MASK_ON", False, "MODEL.KEYPOINT_ON", True, "MODEL.ROI_HEADS.NUM_CLASSES", 1,
               "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 512, "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS",
               (8,), "MODEL.RPN.POST_NMS_TOPK_TRAIN", 1000]  # fmt: skip
    cfg = config(MASK_RCNN, *options)
    heads = Watched()
    model = build_model(cfg).train()
    model.roi_heads.keypoint_head.layers = heads_forward(
        model.roi_heads.keypoint_head.layers, heads
    )
    count_forward(model, dummy_inputs(cfg, 480, 640))
    assert heads.batches == [WITH_KEYPOINTS]


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
    """Against a real training step; with a frozen backbone, its backward pass is left out."""
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
    parts = frozen_parts(model)
    assert model.backbone in parts
    blocks = [x for name, x in model.roi_heads.res5.named_children() if name != "norm"]
    assert parts[-len(blocks) :] == blocks and len(parts) == 1 + len(blocks)
