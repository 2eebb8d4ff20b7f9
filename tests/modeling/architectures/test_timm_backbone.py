"""Networks of timm as backbones: maps by stride, timm's own features, norms, freezing, refusals."""

import copy
import re

import pytest
import timm
import torch
from detectron2.layers import FrozenBatchNorm2d, NaiveSyncBatchNorm
from detectron2.modeling import build_backbone
from helpers import base_config
from timm.layers import BatchNormAct2d
from torch import nn
from torch.nn import functional as F

import dense_ssl.modeling  # noqa: F401 (registration only)
from dense_ssl.modeling.architectures import rename_timm_weights
from dense_ssl.modeling.architectures.freezing import freeze_stages
from dense_ssl.modeling.architectures.norms import replace_batch_norms
from dense_ssl.modeling.architectures.timm_network import create_network
from dense_ssl.modeling.dropout import remove_dropout
from dense_ssl.modeling.momentum import momentum_copy

LEVELS = ["res2", "res3", "res4", "res5"]
STRIDES = {"stem": 2, "res2": 4, "res3": 8, "res4": 16, "res5": 32}
SMALL_SWIN = ("embed_dim=8", "depths=(1,1,2,1)", "num_heads=(1,2,2,2)")
# one network of each kind of extractor and of each family of the docs, as narrow as timm has it
NETWORKS = {
    "mobilenetv2_035": ([8, 16, 32, 112], ()),
    "test_efficientnet": ([24, 32, 48, 64], ()),
    "test_convnext": ([24, 32, 48, 64], ()),
    "test_resnet": ([32, 48, 192, 96], ()),
    "regnetx_002": ([24, 56, 152, 368], ()),
    "swin_tiny_patch4_window7_224": ([8, 16, 32, 64], SMALL_SWIN),
    "pvt_v2_b0": ([32, 64, 160, 256], ()),  # attention without fixed image size
}


def config(name="mobilenetv2_035", *options, builder="build_timm_backbone"):
    return base_config(
        "MODEL.DEVICE", "cpu", "MODEL.META_ARCHITECTURE", "BYOL", "MODEL.BACKBONE.NAME", builder,
        "MODEL.BACKBONE.FREEZE_AT", 0, "MODEL.TIMM.NAME", name, "MODEL.RESNETS.OUT_FEATURES",
        LEVELS, "MODEL.FPN.IN_FEATURES", LEVELS, "MODEL.FPN.OUT_CHANNELS", 16,
        "MODEL.TIMM.ARGUMENTS", NETWORKS.get(name, (0, ()))[1], *options,
    )  # fmt: skip


def backbone(*args, **kwargs):
    torch.manual_seed(0)
    return build_backbone(config(*args, **kwargs))


def norms_of(module):
    return [x for x in module.modules() if "Norm" in type(x).__name__]


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_are_named_by_stride_whatever_the_size(name):
    model = backbone(name).eval()
    assert model.size_divisibility == 32
    for size in ((64, 64), (97, 131), (33, 1)):
        with torch.no_grad():
            maps = model(torch.randn(1, 3, *size))
        assert list(maps) == list(model.output_shape()) == LEVELS
        for level, channels in zip(LEVELS, NETWORKS[name][0]):
            shape, stride = model.output_shape()[level], STRIDES[level]
            assert (shape.channels, shape.stride) == (channels, stride)
            cells = [-(-x // stride) for x in size]  # rounded up
            assert list(maps[level].shape) == [1, channels, *cells]


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_of_timm_give_the_features_of_timm(name):
    arguments = NETWORKS[name][1]
    options = dict(x.split("=", 1) for x in arguments)
    options = {key: eval(value) for key, value in options.items()}  # literals of this file
    if "swin" in name:
        options["strict_img_size"] = False
    torch.manual_seed(1)
    theirs = timm.create_model(name, **options)
    for buffer in theirs.buffers():  # statistics that differ from a new network's
        if buffer.dtype.is_floating_point and buffer.dim() == 1:
            buffer.uniform_(0.5, 1.5)
    ours = backbone(name)
    renamed = ours.from_timm(theirs.state_dict())
    assert not ours.load_state_dict(renamed, strict=False).missing_keys
    # windows of Swin divide the maps of 224 pixels only
    images = torch.randn(1, 3, *((224, 224) if "swin" in name else (64, 96)))
    with torch.no_grad():
        maps = ours.eval()(images)
        _, intermediates = theirs.eval().forward_intermediates(images)
    for level, expected in zip(LEVELS, intermediates[-4:]):
        assert torch.equal(maps[level], expected), level


def swin_names(weights):
    """Weights of detectron2's Swin Transformer under the names of TimmBackbone."""
    renamed = {}
    for name, tensor in weights.items():
        if "relative_position_index" in name:  # not a parameter; timm does not store it
            continue
        layer = re.match(r"layers\.(\d)\.(downsample)?", name)
        if layer:  # timm has a downsampling layer before a stage, not after it
            name = f"layers_{int(layer[1]) + bool(layer[2])}{name[len('layers.0') :]}"
        norm = re.match(r"norm(\d)\.", name)
        renamed[f"out_norms.res{int(norm[1]) + 2}.{name[6:]}" if norm else f"body.{name}"] = tensor
    return renamed


@pytest.mark.parametrize("size", [(64, 96), (224, 320)])
def test_a_swin_is_detectron2s_at_sizes_that_windows_do_not_divide(size):
    swin = pytest.importorskip("detectron2.modeling.backbone.swin")
    torch.manual_seed(0)
    theirs = swin.SwinTransformer(embed_dim=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 2)).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    arguments = ("embed_dim=8", "depths=(2,2,2,2)", "num_heads=(1,2,2,2)", "always_partition=True")
    ours = backbone(
        "swin_tiny_patch4_window7_224", "MODEL.TIMM.OUT_NORM", "LN", "MODEL.TIMM.ARGUMENTS",
        arguments,
    ).eval()  # fmt: skip
    ours.load_state_dict(swin_names(theirs.state_dict()))
    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        for a, b in zip(ours(images).values(), theirs(images).values()):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_classifiers_and_strangers_are_left_out():
    weights = {"stages.0.blocks.0.gamma": 1, "stem_0.weight": 2, "head.fc.weight": 3,
               "blocks.1.x": 4, "norm.weight": 5, "cls": 6}  # fmt: skip
    names = ["stages_0.blocks.0.gamma", "stem_0.weight", "blocks.1.x", "body.norm.weight",
             "model.cls"]  # fmt: skip
    assert rename_timm_weights(weights, names) == {
        "stages_0.blocks.0.gamma": 1, "stem_0.weight": 2, "blocks.1.x": 4, "body.norm.weight": 5,
        "model.cls": 6,
    }  # fmt: skip
    assert backbone("test_resnet").from_timm({"res2.0.conv1.weight": torch.zeros(1)}) == {}


def test_a_border_is_padded_as_detectors_pad():
    model = backbone("test_convnext").eval()  # its stem alone would drop the border
    images = torch.randn(1, 3, 60, 70)
    with torch.no_grad():
        maps = model(images)
        whole = model(F.pad(images, (0, 26, 0, 4)))
    for level, x in maps.items():
        height, width = x.shape[2:]
        assert torch.equal(x, whole[level][..., :height, :width])


@pytest.mark.parametrize("name, norm, kind", [
    ("mobilenetv2_035", "SyncBN", nn.SyncBatchNorm),
    ("mobilenetv2_035", "FrozenBN", FrozenBatchNorm2d),
    ("test_resnet", "naiveSyncBN", NaiveSyncBatchNorm),
])  # fmt: skip
def test_batch_norms_become_what_the_config_says(name, norm, kind):
    plain, other = backbone(name), backbone(name, "MODEL.TIMM.NORM", norm)
    count = sum(isinstance(x, nn.BatchNorm2d) for x in plain.modules())
    assert count > 5 and sum(isinstance(x, kind) for x in other.modules()) == count
    names = {x for x in plain.state_dict() if not x.endswith("num_batches_tracked")}
    assert names == {x for x in other.state_dict() if not x.endswith("num_batches_tracked")}
    other.load_state_dict(plain.state_dict(), strict=False)
    images = torch.randn(2, 3, 64, 64)
    training = norm != "FrozenBN"
    a, b = plain.train(training)(images), other.train(training)(images)
    for level in LEVELS:  # the activation behind the norm, eps and statistics are kept
        assert torch.allclose(a[level], b[level], atol=1e-4, rtol=1e-4), level
    if training:
        for x, y in zip(plain.buffers(), other.buffers()):
            assert torch.allclose(x.float(), y.float(), atol=1e-4)


def test_values_eps_and_momentum_survive_an_exchange():
    norm = BatchNormAct2d(4, eps=0.01, momentum=0.3, act_layer=nn.ReLU)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.0, 1, 2, 3]))
        norm.running_mean.copy_(torch.tensor([4.0, 5, 6, 7]))
    holder = nn.Sequential(copy.deepcopy(norm))
    replace_batch_norms(holder, "naiveSyncBN")
    new = holder[0]
    assert (new.eps, new.momentum) == (0.01, 0.3)
    assert torch.equal(new.weight, norm.weight) and torch.equal(new.running_mean, norm.running_mean)
    assert isinstance(new.act, nn.ReLU) and isinstance(new, NaiveSyncBatchNorm)
    assert torch.equal(copy.deepcopy(new).weight, new.weight)  # the momentum encoder is a copy


def test_layer_norms_stay():
    before, after = (backbone("test_convnext", "MODEL.TIMM.NORM", x) for x in ("BN", "FrozenBN"))
    assert norms_of(before)
    assert [type(x) for x in norms_of(before)] == [type(x) for x in norms_of(after)]


def test_group_norm_where_it_divides_the_channels():
    holder = nn.Sequential(BatchNormAct2d(32, act_layer=nn.ReLU))
    replace_batch_norms(holder, "GN")
    x = torch.randn(2, 32, 3, 3)
    torch.testing.assert_close(holder(x), F.relu(F.group_norm(x, 32)))
    for norm in ("GN", "", "nonsense"):
        with pytest.raises(ValueError, match="MODEL.TIMM.NORM"):
            backbone("mobilenetv2_035", "MODEL.TIMM.NORM", norm)


def test_out_norm_normalises_every_map():
    model = backbone("test_convnext", "MODEL.TIMM.OUT_NORM", "LN")
    maps = model(torch.randn(2, 3, 64, 64))
    for x in maps.values():
        assert torch.allclose(x.mean(1), torch.zeros(1), atol=1e-5)
        assert torch.allclose(x.var(1, unbiased=False), torch.ones(1), atol=0.02)
    with pytest.raises(ValueError, match="MODEL.TIMM.OUT_NORM"):
        backbone("test_convnext", "MODEL.TIMM.OUT_NORM", "BN")


@pytest.mark.parametrize("name", ["mobilenetv2_035", "test_resnet", "test_convnext"])
def test_what_no_map_needs_is_not_built(name):
    whole = backbone(name)
    part = backbone(name, "MODEL.RESNETS.OUT_FEATURES", ["res3", "res4"])
    assert list(part(torch.randn(2, 3, 64, 64))) == ["res3", "res4"]
    assert set(part.state_dict()) < set(whole.state_dict())
    sum(x.sum() for x in part(torch.randn(2, 3, 64, 64)).values()).backward()
    assert all(x.grad is not None for x in part.parameters())


def test_a_stem_map_where_there_is_one():
    model = backbone("mobilenetv2_035", "MODEL.RESNETS.OUT_FEATURES", ["stem", "res5"])
    assert [x.shape[-1] for x in model(torch.randn(2, 3, 64, 64)).values()] == [32, 2]
    assert model.output_shape()["stem"].stride == 2


def gradients(model):
    return {name for name, x in model.named_parameters() if x.requires_grad}


@pytest.mark.parametrize("name, stem, res2", [
    ("mobilenetv2_035", ("conv_stem", "bn1", "blocks.0"), ("blocks.1",)),
    ("test_resnet", ("conv1", "bn1"), ("layer1",)),
    ("test_convnext", ("stem_0", "stem_1"), ("stages_0",)),
    ("regnetx_002", ("stem",), ("s1",)),
])  # fmt: skip
def test_first_stages_freeze(name, stem, res2):
    every = {x for x, _ in backbone(name).named_parameters()}
    for freeze_at, parts in ((1, stem), (2, stem + res2)):
        model = backbone(name, "MODEL.BACKBONE.FREEZE_AT", freeze_at, "MODEL.TIMM.DROP_PATH", 0.5)
        frozen = tuple(f"body.{x}." for x in parts)
        assert gradients(model) == {x for x in every if not x.startswith(frozen)}
        for module_name, module in model.named_modules():
            if f"{module_name}.".startswith(frozen):
                assert not isinstance(module, nn.BatchNorm2d)
                assert getattr(module, "drop_prob", 0) == 0
        assert any(getattr(x, "drop_prob", 0) for x in model.modules())
    model.train()(torch.randn(2, 3, 64, 64))["res5"].sum().backward()


def test_frozen_stages_give_what_they_gave():
    free = backbone("mobilenetv2_035").eval()
    frozen = backbone("mobilenetv2_035", "MODEL.BACKBONE.FREEZE_AT", 5)
    frozen.load_state_dict(free.state_dict(), strict=False)
    images = torch.randn(2, 3, 64, 64)
    for a, b in zip(free(images).values(), frozen.train()(images).values()):
        assert torch.allclose(a, b, atol=1e-5)
    assert not gradients(frozen)


def test_freezing_by_stages_needs_stages():
    with pytest.raises(ValueError, match="MODEL.BACKBONE.FREEZE_AT is .*MODEL.FREEZE_BACKBONE"):
        backbone("pvt_v2_b0", "MODEL.BACKBONE.FREEZE_AT", 6)


def test_networks_with_parallel_branches_have_neither_stages_nor_stochastic_depth():
    body = create_network("hrnet_w18_small", LEVELS)  # does not know drop_path_rate
    with pytest.raises(ValueError, match="has 0 stages"):
        freeze_stages(body, 1, "hrnet_w18_small")
    for name in ("hrnet_w18_small", "vgg11"):
        with torch.device("meta"), pytest.raises(ValueError, match="MODEL.TIMM.DROP_PATH"):
            create_network(name, LEVELS, drop_path=0.1)


def test_stochastic_depth_is_the_online_networks():
    online = backbone("swin_tiny_patch4_window7_224", "MODEL.TIMM.DROP_PATH", 0.9)
    target = momentum_copy(online)
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        runs = [[model(images)["res5"] for _ in range(2)] for model in (online, target)]
        expected = online.eval()(images)["res5"]
    assert not torch.equal(*runs[0])
    assert torch.equal(*runs[1]) and torch.equal(runs[1][0], expected)
    assert max(getattr(x, "drop_prob", 0) for x in online.modules()) > 0.5


def test_drop_path_of_0_is_none_at_all():
    # timm's own default for Swin is 0.1
    model = backbone("swin_tiny_patch4_window7_224")
    assert not any(getattr(x, "drop_prob", 0) for x in model.modules())


def test_dropout_is_removed_for_good():
    part = nn.Sequential(nn.Dropout(0.5), nn.Dropout2d(0.5), timm.layers.DropPath(0.5))
    remove_dropout(part)
    images = torch.randn(2, 3, 4, 4)
    assert torch.equal(part.train()(images), images)


def test_pyramids():
    model = backbone(builder="build_timm_fpn_backbone")
    maps = model(torch.randn(2, 3, 64, 64))
    assert {k: tuple(x.shape[1:]) for k, x in maps.items()} == {
        f"p{i}": (16, 128 >> (i + 1), 128 >> (i + 1)) for i in range(2, 7)
    }
    levels = LEVELS[1:]
    model = backbone(
        "mobilenetv2_035", "MODEL.RESNETS.OUT_FEATURES", levels, "MODEL.FPN.IN_FEATURES", levels,
        "MODEL.FPN.FUSE_TYPE", "avg", "MODEL.FPN.NORM", "GN", "MODEL.FPN.OUT_CHANNELS", 32,
        builder="build_retinanet_timm_fpn_backbone",
    )  # fmt: skip
    assert list(model.output_shape()) == ["p3", "p4", "p5", "p6", "p7"]
    assert model.top_block.p6.in_channels == 112 and model._fuse_type == "avg"
    assert isinstance(model.fpn_lateral3.norm, nn.GroupNorm)


@pytest.mark.parametrize("name, named", [
    ("", "MODEL.TIMM.NAME is empty"),
    ("mobilenet_v2_100", "does not have.*mobilenetv2_100"),
    ("vit_tiny_patch16_224", r"strides \[16\];.*build_vit_backbone"),
    ("csatv2", r"strides \[8, 16, 32, 64\]; MODEL.RESNETS.OUT_FEATURES asks for .*\[4, 8, 16, 32"),
    ("efficientformer_l1", "cannot take an image"),
])  # fmt: skip
def test_networks_that_are_no_pyramid_are_refused(name, named):
    with pytest.raises(ValueError, match=named):
        backbone(name)


@pytest.mark.parametrize("options, named", [
    (("MODEL.TIMM.ARGUMENTS", ("depths",)), "MODEL.TIMM.ARGUMENTS has 'depths'"),
    (("MODEL.TIMM.ARGUMENTS", ("act=nn.GELU",)), "MODEL.TIMM.ARGUMENTS has 'act=nn.GELU'"),
    (("MODEL.TIMM.ARGUMENTS", ("no_such=1",)), "no_such.*MODEL.TIMM.ARGUMENTS"),
    (("MODEL.RESNETS.OUT_FEATURES", ["res6"]), "MODEL.RESNETS.OUT_FEATURES"),
    (("MODEL.RESNETS.OUT_FEATURES", ["stem", "res2"]), r"\['stem', 'res2'\]"),
])  # fmt: skip
def test_bad_keys_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        backbone("test_convnext", *options)


def test_a_pyramid_on_maps_that_are_not_there_names_both_keys():
    options = ("MODEL.RESNETS.OUT_FEATURES", ["res4", "res5"])
    with pytest.raises(ValueError, match="MODEL.FPN.IN_FEATURES .*MODEL.RESNETS.OUT_FEATURES"):
        backbone("mobilenetv2_035", *options, builder="build_timm_fpn_backbone")


def test_c4_is_for_resnets():
    options = ("MODEL.META_ARCHITECTURE", "GeneralizedRCNN", "MODEL.ROI_HEADS.NAME")
    for heads in ("Res5ROIHeads", "Res5ROIHeadsExtraNorm"):
        with pytest.raises(ValueError, match="MODEL.ROI_HEADS.NAME.*StandardROIHeads"):
            backbone("mobilenetv2_035", *options, heads)
    backbone("mobilenetv2_035", *options, "StandardROIHeads")
