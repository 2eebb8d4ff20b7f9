"""A converted network computes what the original one does: on the same image, at every stage."""

import pickle

import pytest
import timm
import torch
import torchvision
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn
from torchvision.transforms.functional import normalize
from weight_files import network

from dense_ssl.checkpoint import Checkpointer, backbone_settings
from dense_ssl.checkpoint.formats import (
    check_stated,
    extract_backbone,
    flip_colours,
    read_checkpoint,
    write_backbone,
)
from dense_ssl.checkpoint.formats.architecture import build

STAGES = ("res2", "res3", "res4", "res5")
RGB = {
    "INPUT.FORMAT": "RGB", "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
    "MODEL.PIXEL_STD": [58.395, 57.12, 57.375], "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.RESNETS.NORM": "BN",
}  # fmt: skip


def image():
    """uint8 RGB, (1, 3, 65, 98): odd sides, so that padding and strides matter."""
    return torch.randint(0, 256, (1, 3, 33, 50), generator=torch.Generator().manual_seed(0))


def loaded(path, keys, check=True):
    """detectron2's backbone of the given config keys, filled through MODEL.WEIGHTS' own way."""
    model = nn.Module()
    model.backbone, cfg = build(keys)
    Checkpointer(model, settings=backbone_settings(cfg), check=check).load(str(path))
    return model.backbone.eval(), cfg


def converted(model, tmp_path, **stated):
    """(detectron2's backbone, its cfg) by way of a foreign file and of a backbone.pkl."""
    torch.save(model.state_dict(), tmp_path / "original.pth")
    backbone = extract_backbone(read_checkpoint(tmp_path / "original.pth"), stated=stated)
    write_backbone(backbone, tmp_path / "backbone.pkl")
    return loaded(tmp_path / "backbone.pkl", {**backbone.architecture, **RGB})


def stem_and_stages(model, x):
    """Feature maps of torchvision's or timm's ResNet."""
    activation = model.relu if hasattr(model, "relu") else model.act1
    x = model.maxpool(activation(model.bn1(model.conv1(x))))
    maps = []
    for i in range(1, 5):
        x = getattr(model, f"layer{i}")(x)
        maps.append(x)
    return maps


def preprocess(pixels, cfg):
    """As GeneralizedRCNN does with an image in INPUT.FORMAT."""
    mean = torch.tensor(cfg.MODEL.PIXEL_MEAN, dtype=pixels.dtype).view(-1, 1, 1)
    return (pixels - mean) / torch.tensor(cfg.MODEL.PIXEL_STD, dtype=pixels.dtype).view(-1, 1, 1)


def random_timm(name, **more):
    torch.manual_seed(5)
    model = timm.create_model(name, pretrained=False, num_classes=0, **more)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)
            # timm starts the last norm of each block at 0, which would hide its branch
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.eval()


NETWORKS = {  # bottlenecks with few channels, to save time
    "torchvision resnet18": lambda: network("resnet18", 1),
    "torchvision resnet50": lambda: network("resnet50", 1, width_per_group=4),
    "torchvision resnext50": lambda: network("resnet50", 1, groups=4, width_per_group=4),
    "timm resnet50": lambda: random_timm("resnet50", base_width=4),
}


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_features_are_those_of_the_original(name, tmp_path):
    model = NETWORKS[name]()
    backbone, cfg = converted(model, tmp_path)
    # the same tensor goes in: bit for bit in double precision
    x = preprocess(image().double(), cfg)
    expected = stem_and_stages(model.double(), x)
    found = backbone.double()(x)
    for stage, features in zip(STAGES, expected):
        assert torch.equal(found[stage], features), stage
        assert features.abs().mean() > 0.01
    # each with its own preprocessing, in single precision
    x = normalize(image().float() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    expected = stem_and_stages(model.float(), x)
    found = backbone.float()(preprocess(image().float(), cfg))
    for stage, features in zip(STAGES, expected):
        assert (found[stage] - features).abs().max() <= 1e-5 * features.abs().max(), stage


@pytest.mark.parametrize("depth, convolutions", [(34, 36), (101, 104), (152, 155)])
def test_deeper_networks_are_built_and_filled(depth, convolutions):
    with torch.device("meta"):
        more = {"width_per_group": 4} if depth > 34 else {}
        state_dict = getattr(torchvision.models, f"resnet{depth}")(**more).state_dict()
    # only the shapes matter here
    backbone = extract_backbone({k: torch.zeros(()).expand(x.shape) for k, x in state_dict.items()})
    assert backbone.architecture["MODEL.RESNETS.DEPTH"] == depth
    assert len(backbone.weights) == 5 * convolutions  # each with 4 tensors of its norm


@torch.no_grad()
def test_a_bgr_network_is_refused_or_flipped(tmp_path):
    """A network for BGR images into a config for RGB images."""
    model = network("resnet18", 4)
    stated = {"INPUT.FORMAT": "BGR", "MODEL.PIXEL_MEAN": [103.53, 116.28, 123.675],
              "MODEL.PIXEL_STD": [1.0, 1.0, 1.0]}  # fmt: skip
    backbone = extract_backbone(model.state_dict(), stated=stated)
    write_backbone(backbone, tmp_path / "bgr.pkl")
    keys = {**backbone.architecture, **RGB}
    with pytest.raises(ValueError, match="INPUT.FORMAT: the weights have 'BGR', this run 'RGB'"):
        loaded(tmp_path / "bgr.pkl", keys)
    write_backbone(flip_colours(backbone), tmp_path / "rgb.pkl")
    with pytest.raises(ValueError, match="MODEL.PIXEL_STD: the weights have .1.0, 1.0, 1.0"):
        loaded(tmp_path / "rgb.pkl", keys)
    flipped, cfg = loaded(tmp_path / "rgb.pkl", {**keys, "MODEL.PIXEL_STD": [1.0, 1.0, 1.0]})
    pixels = image().double()
    mean = torch.tensor([103.53, 116.28, 123.675], dtype=torch.double).view(3, 1, 1)
    expected = stem_and_stages(model.double(), pixels.flip(1) - mean)
    found = flipped.double()(preprocess(pixels, cfg))
    for stage, features in zip(STAGES, expected):
        torch.testing.assert_close(found[stage], features, rtol=1e-9, atol=1e-9)
    twice = flip_colours(flip_colours(backbone))
    assert torch.equal(twice.weights["stem.conv1.weight"], model.conv1.weight.float())
    assert twice.settings == backbone.settings


def caffe2_name(name):
    """Detectron's name of a tensor of detectron2's ResNet."""
    parts = name.split(".")
    leaf = {"weight": "w"}.get(parts[-1])
    if parts[-2] == "norm":
        leaf = {"weight": "bn_s", "bias": "bn_b"}[parts[-1]]
    if parts[0] == "stem":
        return f"conv1_{leaf}" if leaf == "w" else f"res_conv1_{leaf}"
    branch = {"conv1": "2a", "conv2": "2b", "conv3": "2c", "shortcut": "1"}[parts[2]]
    return f"{parts[0]}_{parts[1]}_branch{branch}_{leaf}"


@torch.no_grad()
def test_caffe2_networks_load_as_stock_detectron2_loads_them(tmp_path):
    """detectron2's ImageNet weights: Caffe2's names, folded batch norms, BGR, 1 x 1 strides."""
    keys = {"MODEL.RESNETS.DEPTH": 50, "MODEL.RESNETS.STEM_OUT_CHANNELS": 8,
            "MODEL.RESNETS.RES2_OUT_CHANNELS": 16, "MODEL.RESNETS.WIDTH_PER_GROUP": 4}  # fmt: skip
    stock = nn.Module()
    stock.backbone, _ = build({**keys, "MODEL.RESNETS.NORM": "FrozenBN"})
    generator = torch.Generator().manual_seed(0)
    blobs = {caffe2_name(k): torch.rand(x.shape, generator=generator).numpy() - 0.4
             for k, x in stock.backbone.state_dict().items() if "running" not in k}  # fmt: skip
    blobs["fc1000_w"] = torch.rand(3, 4).numpy()
    blobs["conv1_w_momentum"] = blobs["conv1_w"]
    for content in (blobs, {"blobs": blobs, "cfg": "NUM_GPUS: 8"}):
        (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(content, protocol=2))
        backbone = extract_backbone(read_checkpoint(tmp_path / "R-50.pkl"))
        assert "Caffe2" in backbone.recognised.family.title
        assert backbone.settings == {
            "INPUT.FORMAT": "BGR", "MODEL.PIXEL_MEAN": [103.53, 116.28, 123.675],
            "MODEL.PIXEL_STD": [1.0, 1.0, 1.0], "MODEL.RESNETS.STRIDE_IN_1X1": True,
            "MODEL.RESNETS.NORM": "FrozenBN", "MODEL.RESNETS.DEPTH": 50,
        }  # fmt: skip
    DetectionCheckpointer(stock).load(str(tmp_path / "R-50.pkl"))
    write_backbone(backbone, tmp_path / "backbone.pkl")
    ours, _ = loaded(tmp_path / "backbone.pkl", {**keys, **backbone.settings})
    for (name, x), y in zip(stock.backbone.state_dict().items(), ours.state_dict().values()):
        assert torch.equal(x, y), name
    again = extract_backbone(read_checkpoint(tmp_path / "backbone.pkl"))
    assert again.settings == backbone.settings
    # and as it is, without a conversion
    direct, _ = loaded(tmp_path / "R-50.pkl", {**keys, **backbone.settings})
    for (name, x), y in zip(stock.backbone.state_dict().items(), direct.state_dict().values()):
        assert torch.equal(x, y), name


def test_grouped_caffe2_networks_have_settings_of_their_own():
    keys = {"MODEL.RESNETS.DEPTH": 101, "MODEL.RESNETS.NUM_GROUPS": 2,
            "MODEL.RESNETS.WIDTH_PER_GROUP": 4, "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
            "MODEL.RESNETS.STEM_OUT_CHANNELS": 8}  # fmt: skip
    model, _ = build({**keys, "MODEL.RESNETS.NORM": "FrozenBN"})
    blobs = {caffe2_name(k): x.numpy() for k, x in model.state_dict().items() if "running" not in k}
    backbone = extract_backbone(blobs)
    assert backbone.architecture == keys
    assert backbone.settings["MODEL.PIXEL_STD"] == [57.375, 57.12, 58.395]
    assert backbone.settings["MODEL.RESNETS.STRIDE_IN_1X1"] is False


def test_settings_are_stated_by_their_keys():
    stated = check_stated(["INPUT.FORMAT", "BGR", "MODEL.PIXEL_MEAN", "[1, 2, 3.5]",
                           "MODEL.RESNETS.STRIDE_IN_1X1", "True"])  # fmt: skip
    assert stated == {"INPUT.FORMAT": "BGR", "MODEL.PIXEL_MEAN": [1, 2, 3.5],
                      "MODEL.RESNETS.STRIDE_IN_1X1": True}  # fmt: skip
    assert check_stated([]) == {}
    for pairs, message in (
        (["INPUT.FORMAT"], "'INPUT.FORMAT' has no partner"),
        (["MODEL.MASK_ON", "True"], "MODEL.MASK_ON cannot be stated for weights"),
        (["INPUT.FORMAT", "YUV"], "only RGB and BGR"),
        (["MODEL.PIXEL_STD", "[1, 2]"], "MODEL.PIXEL_STD needs three values"),
        (["MODEL.RESNETS.STRIDE_IN_1X1", "maybe"], "does not suit its key"),
    ):
        with pytest.raises(ValueError, match=message):
            check_stated(pairs)
