"""detectron2's own backbones by yacs keys: the same networks, maps named by stride."""

import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import BACKBONE_REGISTRY, build_backbone, build_model
from detectron2.modeling.backbone.regnet import RegNet, ResBottleneckBlock, SimpleStem
from helpers import base_config, random_batch, tiny_config
from torch import nn

import dense_ssl.modeling  # noqa: F401 (registration only)
from dense_ssl.modeling.backbones import bottom_up_of, extract_features, feature_shapes
from dense_ssl.modeling.momentum import momentum_copy

LEVELS = ["res2", "res3", "res4", "res5"]
SMALL = {
    "regnet": ["MODEL.REGNETS.STEM_WIDTH", 8, "MODEL.REGNETS.DEPTH", 13, "MODEL.REGNETS.W_A", 36.44,
               "MODEL.REGNETS.W_0", 24, "MODEL.REGNETS.W_M", 2.49, "MODEL.REGNETS.GROUP_WIDTH", 8],
    "swin": ["MODEL.SWIN.EMBED_DIM", 8, "MODEL.SWIN.DEPTHS", (1, 1, 2, 1),
             "MODEL.SWIN.NUM_HEADS", (1, 2, 2, 2), "MODEL.SWIN.DROP_PATH", 0.5],
    "vit": ["MODEL.VIT.EMBED_DIM", 16, "MODEL.VIT.DEPTH", 2, "MODEL.VIT.NUM_HEADS", 2,
            "MODEL.VIT.WINDOW_SIZE", 3, "MODEL.VIT.WINDOW_BLOCKS", (0,), "MODEL.VIT.IMAGE_SIZE", 64,
            "MODEL.VIT.DROP_PATH", 0.5, "MODEL.FPN.NORM", "LN"],
    "resnet_deeplab": ["MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16,
                       "MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.RESNETS.STEM_OUT_CHANNELS", 16,
                       "MODEL.RESNETS.NORM", "BN", "MODEL.RESNETS.STRIDE_IN_1X1", False],
}  # fmt: skip
for _family, _part in (("swin", "swin"), ("vit", "vit"), ("resnet_deeplab", "deeplab")):
    if f"build_{_family}_backbone" not in BACKBONE_REGISTRY:
        pytest.skip(f"this detectron2 has no {_part}", allow_module_level=True)


def backbone(family, *options, builder=None):
    levels = LEVELS[1:] if builder and "retinanet" in builder else LEVELS
    torch.manual_seed(0)
    return build_backbone(base_config(
        "MODEL.DEVICE", "cpu", "MODEL.META_ARCHITECTURE", "BYOL", "MODEL.BACKBONE.FREEZE_AT", 0,
        "MODEL.BACKBONE.NAME", builder or f"build_{family}_backbone",
        "MODEL.RESNETS.OUT_FEATURES", levels, "MODEL.FPN.IN_FEATURES", levels,
        "MODEL.FPN.OUT_CHANNELS", 16, *SMALL[family], *options,
    ))  # fmt: skip


@pytest.mark.parametrize("family", ["regnet", "swin", "resnet_deeplab"])
@pytest.mark.parametrize("size", [(64, 96), (70, 101)])
def test_maps_are_named_by_stride(family, size):
    model = backbone(family).eval()
    maps = model(torch.randn(2, 3, *size))
    assert list(maps) == list(model.output_shape()) == LEVELS
    for i, level in enumerate(LEVELS):
        shape = model.output_shape()[level]
        assert shape.stride == 4 << i
        cells = [-(-x // shape.stride) for x in size]
        assert list(maps[level].shape) == [2, shape.channels, *cells]


def test_a_regnet_is_detectron2s():
    node = dict(zip(SMALL["regnet"][::2], SMALL["regnet"][1::2]))
    theirs = RegNet(
        stem_class=SimpleStem, stem_width=8, block_class=ResBottleneckBlock,
        out_features=["s1", "s2", "s3", "s4"], norm="BN",
        **{x: node[f"MODEL.REGNETS.{x.upper()}"]
           for x in ("depth", "w_a", "w_0", "w_m", "group_width")},
    )  # fmt: skip
    ours = backbone("regnet")
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64)
    for a, b in zip(ours.eval()(images).values(), theirs.eval()(images).values()):
        assert torch.equal(a, b)


def test_a_swin_is_detectron2s():
    from detectron2.modeling.backbone.swin import SwinTransformer

    theirs = SwinTransformer(
        embed_dim=8, depths=(1, 1, 2, 1), num_heads=(1, 2, 2, 2), drop_path_rate=0.5
    )
    ours = backbone("swin")
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 60, 90)
    for a, b in zip(ours.eval()(images).values(), theirs.eval()(images).values()):
        assert torch.equal(a, b)
    assert ours.size_divisibility == 32


def test_a_vit_has_one_map_of_stride_16():
    model = backbone("vit").eval()
    assert {k: (x.channels, x.stride) for k, x in model.output_shape().items()} == {
        "last_feat": (16, 16)
    }
    for size, cells in (((64, 96), (4, 6)), ((33, 70), (3, 5))):
        assert model(torch.randn(1, 3, *size))["last_feat"].shape == (1, 16, *cells)


def test_vit_pyramids():
    for builder, levels in (("build_vit_fpn_backbone", range(2, 7)),
                            ("build_retinanet_vit_fpn_backbone", range(3, 8))):  # fmt: skip
        model = backbone("vit", builder=builder).eval()
        maps = model(torch.randn(1, 3, 128, 128))
        assert {k: tuple(x.shape[1:]) for k, x in maps.items()} == {
            f"p{i}": (16, 128 >> i, 128 >> i) for i in levels
        }
        assert model.size_divisibility == 32 and model.padding_constraints == {"square_size": 0}
        assert bottom_up_of(model) is model.net
        assert list(feature_shapes(model))[0] == "last_feat"
        assert extract_features(model, torch.randn(1, 3, 64, 64))["last_feat"].shape[1] == 16
    square = backbone("vit", "MODEL.VIT.SQUARE_PAD", 256, builder="build_vit_fpn_backbone")
    assert square.padding_constraints["square_size"] == 256


@pytest.mark.parametrize("family", ["regnet", "swin", "resnet_deeplab"])
def test_what_no_map_needs_is_not_built(family):
    options = ("MODEL.RESNETS.OUT_FEATURES", ["res3"])
    part, whole = backbone(family, *options), backbone(family)
    assert set(part.state_dict()) < set(whole.state_dict())
    assert sum(x.numel() for x in part.parameters()) < 0.5 * sum(
        x.numel() for x in whole.parameters()
    )
    part(torch.randn(2, 3, 64, 64))["res3"].sum().backward()
    assert all(x.grad is not None for x in part.parameters())


def test_first_stages_freeze():
    model = backbone("swin", "MODEL.BACKBONE.FREEZE_AT", 2)
    frozen = {x.split(".")[0] + x.split(".")[1] for x, p in model.named_parameters()
              if not p.requires_grad}  # fmt: skip
    assert frozen == {"patch_embedproj", "patch_embednorm", "layers0"}
    model = backbone("regnet", "MODEL.BACKBONE.FREEZE_AT", 2)
    assert {x.split(".")[0] for x, p in model.named_parameters() if not p.requires_grad} == {
        "stem", "s1"
    }  # fmt: skip
    assert any(isinstance(x, FrozenBatchNorm2d) for x in model.s1.modules())
    assert not any(isinstance(x, FrozenBatchNorm2d) for x in model.s2.modules())


@pytest.mark.parametrize("family", ["swin", "vit"])
def test_the_target_has_no_stochastic_depth(family):
    online = backbone(family)
    target = momentum_copy(online)
    assert any(getattr(x, "drop_prob", 0) for x in online.modules())
    assert not any(getattr(x, "drop_prob", 0) for x in target.modules())


def test_deep_stem():
    model = backbone("resnet_deeplab")
    assert [getattr(model.stem, f"conv{i}").kernel_size for i in (1, 2, 3)] == [(3, 3)] * 3
    assert {x.conv2.dilation for x in model.res5} == {(1, 1)}
    assert (
        "conv2.weight"
        not in backbone("resnet_deeplab", "MODEL.RESNETS.STEM_TYPE", "basic").stem.state_dict()
    )
    for builder, levels in (
        ("build_resnet_deeplab_fpn_backbone", "p2 p3 p4 p5 p6"),
        ("build_retinanet_resnet_deeplab_fpn_backbone", "p3 p4 p5 p6 p7"),
    ):
        assert list(backbone("resnet_deeplab", builder=builder).output_shape()) == levels.split()


@pytest.mark.parametrize("family, options, named", [
    ("vit", ("MODEL.BACKBONE.FREEZE_AT", 2), "MODEL.BACKBONE.FREEZE_AT.*MODEL.FREEZE_BACKBONE"),
    ("regnet", ("MODEL.REGNETS.DEPTH", 2), "MODEL.REGNETS gives . stages"),
    ("regnet", ("MODEL.REGNETS.NORM", ""), "MODEL.REGNETS.NORM is empty"),
    ("swin", ("MODEL.RESNETS.OUT_FEATURES", ["stem"]), "MODEL.RESNETS.OUT_FEATURES"),
])  # fmt: skip
def test_bad_keys_are_named(family, options, named):
    with pytest.raises(ValueError, match=named):
        backbone(family, *options)


@pytest.mark.parametrize("family, options, named", [
    ("vit", ("MODEL.FPN.NORM", ""), "MODEL.FPN.NORM is empty"),
    ("vit", ("MODEL.VIT.PATCH_SIZE", 8), "MODEL.VIT.PATCH_SIZE is 8"),
    ("resnet_deeplab", ("MODEL.RESNETS.DEPTH", 18), "MODEL.RESNETS.DEPTH is 18"),
    ("swin", ("MODEL.FPN.IN_FEATURES", ["p2"]), "MODEL.FPN.IN_FEATURES"),
])  # fmt: skip
def test_bad_keys_of_pyramids_are_named(family, options, named):
    with pytest.raises(ValueError, match=named):
        backbone(family, *options, builder=f"build_{family}_fpn_backbone")


@pytest.mark.parametrize("family", ["regnet", "swin", "vit"])
def test_c4_is_for_resnets(family):
    with pytest.raises(ValueError, match="MODEL.ROI_HEADS.NAME"):
        backbone(family, "MODEL.META_ARCHITECTURE", "GeneralizedRCNN")


# (depth, width, groups, width per group): ResNet-34 and 101, ResNeXt, wide
VARIANTS = {
    "34": (34, 64, 1, 64), "101": (101, 16, 1, 4), "resnext": (50, 16, 4, 4), "wide": (50, 16, 1, 8)
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_resnet_variants_pretrain(variant):
    depth, width, groups, per_group = VARIANTS[variant]
    model = build_model(tiny_config(
        "SCRL", "unused", "unused", "MODEL.RESNETS.DEPTH", depth,
        "MODEL.RESNETS.RES2_OUT_CHANNELS", width, "MODEL.RESNETS.NUM_GROUPS", groups,
        "MODEL.RESNETS.WIDTH_PER_GROUP", per_group,
        "MODEL.RESNETS.STEM_OUT_CHANNELS", 64 if depth == 34 else 8,
    ))  # fmt: skip
    sum(model(random_batch(4)).values()).backward()
    assert all(x.grad is not None for x in model.backbone.parameters())
    convolutions = [x for x in model.backbone.modules() if isinstance(x, nn.Conv2d)]
    assert {x.groups for x in convolutions} == {1, groups}
    assert len(model.backbone.res4) == {34: 6, 50: 6, 101: 23}[depth]
