"""ResNets of smaller stride, against detectron2's own and against the strided network."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from detectron2.modeling.backbone.resnet import BasicBlock, ResNet
from helpers import base_config
from torch import nn

from dense_ssl.modeling.architectures.dilated_resnet import dilate_stage

NARROW = ["RES2_OUT_CHANNELS", 16, "WIDTH_PER_GROUP", 4, "STEM_OUT_CHANNELS", 8]
WIDTHS = {18: ["RES2_OUT_CHANNELS", 64], 50: NARROW}
LEVELS = ["res2", "res3", "res4", "res5"]


def build(depth, res4, res5, *options, name="build_dilated_resnet_backbone", like=None):
    """A backbone in eval mode with random batch statistics, or with the weights of ``like``."""
    cfg = base_config("MODEL.BACKBONE.NAME", name, "MODEL.BACKBONE.FREEZE_AT", 0)
    cfg.MODEL.RESNETS.merge_from_list(
        ["DEPTH", depth, "NORM", "BN", "OUT_FEATURES", LEVELS, *WIDTHS[depth],
         "RES4_DILATION", res4, "RES5_DILATION", res5, *options]
    )  # fmt: skip
    torch.manual_seed(0)
    backbone = build_backbone(cfg, ShapeSpec(channels=3)).eval()
    if like is not None:
        backbone.load_state_dict(like.state_dict())  # names and shapes are the same
    else:
        for key, value in backbone.state_dict().items():
            if "running" in key:
                value.copy_(torch.rand(value.shape) + 0.5)
    return backbone


@torch.no_grad()
def run(backbone, height=33, width=65):
    return backbone(torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1)))


def strides(backbone):
    return [x.stride for x in backbone.output_shape().values()]


@pytest.mark.parametrize("stride_in_1x1", [False, True])
def test_dilation_of_res5_equals_detectron2s(stride_in_1x1):
    options = ["STRIDE_IN_1X1", stride_in_1x1]
    theirs = build(50, 1, 2, *options, name="build_resnet_backbone")
    ours = build(50, 1, 2, *options, like=theirs)
    for level, expected in run(theirs).items():
        torch.testing.assert_close(run(ours)[level], expected)
    assert strides(ours) == strides(theirs) == [4, 8, 16, 16]


def test_stride_8_equals_deeplabs():
    from detectron2.projects.deeplab import add_deeplab_config

    options = ["RES4_DILATION", 2, "RES5_DILATION", 4, "RES5_MULTI_GRID", [1, 1, 1]]
    cfg = base_config("MODEL.BACKBONE.NAME", "build_resnet_deeplab_backbone",
                      "MODEL.BACKBONE.FREEZE_AT", 0)  # fmt: skip
    add_deeplab_config(cfg)
    cfg.MODEL.RESNETS.merge_from_list(
        ["STEM_TYPE", "basic", "NORM", "BN", "OUT_FEATURES", LEVELS, *NARROW, *options]
    )
    theirs = build_backbone(cfg, ShapeSpec(channels=3)).eval()
    ours = build(50, 2, 4, "STRIDE_IN_1X1", cfg.MODEL.RESNETS.STRIDE_IN_1X1, like=theirs)
    for level, expected in run(theirs).items():
        torch.testing.assert_close(run(ours)[level], expected)
    assert strides(ours) == strides(theirs) == [4, 8, 8, 8]


@pytest.mark.parametrize("depth, dilations, stride_in_1x1", [
    (18, (2, 4), False), (50, (1, 2), False), (50, (2, 4), False), (50, (2, 4), True),
])  # fmt: skip
def test_contracted_dilation_computes_the_strided_network_densely(depth, dilations, stride_in_1x1):
    options = ["STRIDE_IN_1X1", stride_in_1x1]
    plain = build(depth, 1, 1, *options)
    assert strides(plain) == [4, 8, 16, 32]
    dense = build(depth, *dilations, "CONTRACT_DILATION", True, *options, like=plain)
    coarse, fine = run(plain), run(dense)
    for level, step in zip(("res3", "res4", "res5"), (1, dilations[0], dilations[1])):
        assert fine[level].shape[-1] == -(-65 // (strides(plain)[LEVELS.index(level)] // step))
        torch.testing.assert_close(fine[level][..., ::step, ::step], coarse[level])
    assert strides(dense) == [4, 8, 16 // dilations[0], 32 // dilations[1]]


@pytest.mark.parametrize("first", [1, 2])
def test_only_convolutions_up_to_the_stride_keep_the_first_dilation(first):
    blocks = ResNet.make_stage(
        BasicBlock, 2, stride_per_block=[2, 1], in_channels=2, out_channels=4, norm="BN"
    )
    dilate_stage(nn.Sequential(*blocks), first, 2)
    dilations = [x.dilation[0] for b in blocks for x in (b.conv1, b.conv2)]
    assert dilations == [first, 2, 2, 2]


def test_stages_that_are_not_asked_for_are_not_missed():
    backbone = build(50, 2, 4, "OUT_FEATURES", ["res4"])
    assert strides(backbone) == [8] and not hasattr(backbone, "res5")


@pytest.mark.parametrize("dilations", [(2, 1), (1, 4)])
def test_other_dilations_are_refused(dilations):
    with pytest.raises(ValueError, match=r"RES4_DILATION is \d and RES5_DILATION \d: set them"):
        build(50, *dilations)


def test_deformable_convolutions_are_refused():
    with pytest.raises(ValueError, match=r"MODEL\.RESNETS\.DEFORM_ON_PER_STAGE"):
        build(50, 1, 2, "DEFORM_ON_PER_STAGE", [False, False, False, True])
