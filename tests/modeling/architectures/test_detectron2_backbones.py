"""detectron2's ViT and deep stem by yacs keys, and the errors of builders that were removed."""

import pytest
import torch
from detectron2.modeling import BACKBONE_REGISTRY, build_backbone
from helpers import base_config

import dense_ssl.modeling  # noqa: F401 (registration only)
from dense_ssl.modeling.backbones import (
    bottom_up_of,
    extract_features,
    feature_shapes,
    require_feature,
)
from dense_ssl.modeling.momentum import momentum_copy

LEVELS = ["res2", "res3", "res4", "res5"]
SMALL = {
    "vit": ["MODEL.VIT.EMBED_DIM", 16, "MODEL.VIT.DEPTH", 2, "MODEL.VIT.NUM_HEADS", 2,
            "MODEL.VIT.WINDOW_SIZE", 3, "MODEL.VIT.WINDOW_BLOCKS", (0,), "MODEL.VIT.IMAGE_SIZE", 64,
            "MODEL.VIT.DROP_PATH", 0.5, "MODEL.FPN.NORM", "LN"],
    "resnet_deeplab": ["MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16,
                       "MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.RESNETS.STEM_OUT_CHANNELS", 16,
                       "MODEL.RESNETS.NORM", "BN", "MODEL.RESNETS.STRIDE_IN_1X1", False],
}  # fmt: skip


def backbone(family, *options, builder=None):
    builder = builder or f"build_{family}_backbone"
    if builder not in BACKBONE_REGISTRY:
        pytest.skip(f"this detectron2 has no {builder}")
    levels = LEVELS[1:] if "retinanet" in builder else LEVELS
    torch.manual_seed(0)
    return build_backbone(base_config(
        "MODEL.DEVICE", "cpu", "MODEL.META_ARCHITECTURE", "BYOL", "MODEL.BACKBONE.FREEZE_AT", 0,
        "MODEL.BACKBONE.NAME", builder, "MODEL.RESNETS.OUT_FEATURES", levels,
        "MODEL.FPN.IN_FEATURES", levels, "MODEL.FPN.OUT_CHANNELS", 16, *SMALL.get(family, ()),
        *options,
    ))  # fmt: skip


def test_a_vit_has_one_map_of_stride_16():
    model = backbone("vit").eval()
    assert {k: (x.channels, x.stride) for k, x in model.output_shape().items()} == {
        "last_feat": (16, 16)
    }
    for size, cells in (((64, 96), (4, 6)), ((33, 70), (3, 5))):
        assert model(torch.randn(1, 3, *size))["last_feat"].shape == (1, 16, *cells)
    with pytest.raises(ValueError, match=r"MODEL.X is 'res5', but the backbone gives \['last_feat"):
        require_feature(feature_shapes(model), "res5", "MODEL.X")


def test_vit_pyramids():
    for builder, levels in (("build_vit_fpn_backbone", range(2, 7)),
                            ("build_retinanet_vit_fpn_backbone", range(3, 8))):  # fmt: skip
        model = backbone("vit", builder=builder).eval()
        maps = model(torch.randn(1, 3, 128, 128))
        assert {k: tuple(x.shape[1:]) for k, x in maps.items()} == {
            f"p{i}": (16, 128 >> i, 128 >> i) for i in levels
        }
        assert model.size_divisibility == 32 and model.padding_constraints["square_size"] == 0
        assert bottom_up_of(model) is model.net
        assert list(feature_shapes(model))[0] == "last_feat"
        assert extract_features(model, torch.randn(1, 3, 64, 64))["last_feat"].shape[1] == 16
    square = backbone("vit", "MODEL.VIT.SQUARE_PAD", 256, builder="build_vit_fpn_backbone")
    assert square.padding_constraints["square_size"] == 256


def test_the_target_of_a_vit_has_no_stochastic_depth():
    online = backbone("vit")
    target = momentum_copy(online)
    assert any(getattr(x, "drop_prob", 0) for x in online.modules())
    assert not any(getattr(x, "drop_prob", 0) for x in target.modules())


def test_deep_stem():
    model = backbone("resnet_deeplab")
    assert [getattr(model.stem, f"conv{i}").kernel_size for i in (1, 2, 3)] == [(3, 3)] * 3
    assert {x.conv2.dilation for x in model.res5} == {(1, 1)}
    basic = backbone("resnet_deeplab", "MODEL.RESNETS.STEM_TYPE", "basic")
    assert not hasattr(basic.stem, "conv2")
    for builder, levels in (
        ("build_resnet_deeplab_fpn_backbone", "p2 p3 p4 p5 p6"),
        ("build_retinanet_resnet_deeplab_fpn_backbone", "p3 p4 p5 p6 p7"),
    ):
        assert list(backbone("resnet_deeplab", builder=builder).output_shape()) == levels.split()


@pytest.mark.parametrize("builder, options, named", [
    ("build_vit_backbone", ("MODEL.BACKBONE.FREEZE_AT", 2),
     "MODEL.BACKBONE.FREEZE_AT.*MODEL.FREEZE_BACKBONE"),
    ("build_vit_backbone", ("MODEL.META_ARCHITECTURE", "GeneralizedRCNN"), "MODEL.ROI_HEADS.NAME"),
    ("build_vit_fpn_backbone", ("MODEL.FPN.NORM", ""), "MODEL.FPN.NORM is empty"),
    ("build_vit_fpn_backbone", ("MODEL.VIT.PATCH_SIZE", 8), "MODEL.VIT.PATCH_SIZE is 8"),
    ("build_resnet_deeplab_fpn_backbone", ("MODEL.RESNETS.DEPTH", 18),
     "MODEL.RESNETS.DEPTH is 18"),
    ("build_resnet_deeplab_fpn_backbone", ("MODEL.FPN.IN_FEATURES", ["p2"]),
     "MODEL.FPN.IN_FEATURES is.*MODEL.RESNETS.OUT_FEATURES"),
])  # fmt: skip
def test_bad_keys_are_named(builder, options, named):
    with pytest.raises(ValueError, match=named):
        backbone("vit" if "vit" in builder else "resnet_deeplab", *options, builder=builder)


@pytest.mark.parametrize("family", ["regnet", "swin"])
@pytest.mark.parametrize("form", ["build_{}_backbone", "build_{}_fpn_backbone",
                                  "build_retinanet_{}_fpn_backbone"])  # fmt: skip
def test_removed_builders_name_their_replacement(family, form):
    named = f"{form.format(family)}.* Use '{form.format('timm')}'.*MODEL.TIMM.NAME.*'{family}"
    with pytest.raises(ValueError, match=named):
        backbone(family, builder=form.format(family))
    assert form.format("timm") in BACKBONE_REGISTRY


def test_configs_of_older_runs_are_still_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "MODEL:\n  REGNETS: {NORM: BN}\n  SWIN: {APE: false}\n"
        "  DUPR: {ALIGNED: true, OUT_DIM: 7}\n  SELF_EMD: {TOLERANCE: 0.0}\nVERSION: 2\n"
    )
    cfg = base_config("MODEL.SWIN.WINDOW_SIZE", 4)
    cfg.merge_from_file(str(path))
    assert "REGNETS" not in cfg.MODEL and "SWIN" not in cfg.MODEL
    assert cfg.MODEL.DUPR.OUT_DIM == 7 and "ALIGNED" not in cfg.MODEL.DUPR
