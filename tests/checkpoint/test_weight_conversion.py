"""From this project to others and back: names they load strictly, and not a bit lost."""

import importlib.util
import json
import pickle

import numpy as np
import pytest
import timm
import torch
import torchvision
from detectron2.modeling import build_backbone, build_model
from helpers import ROOT, base_config, tiny_config
from safetensors import safe_open
from torch import nn
from weight_files import detectron2_tensors, network

from dense_ssl.checkpoint import Checkpointer, backbone_settings
from dense_ssl.checkpoint.formats import (
    CheckpointError,
    describe,
    extract_backbone,
    read_checkpoint,
    warnings,
    write_backbone,
)
from dense_ssl.checkpoint.formats.architecture import build
from dense_ssl.checkpoint.formats.naming import to_detectron2, to_torchvision

MAPS = ["res2", "res3", "res4", "res5"]
FPN = ["MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone", "MODEL.FPN.OUT_CHANNELS", 8,
       "MODEL.RESNETS.OUT_FEATURES", MAPS, "MODEL.FPN.IN_FEATURES", MAPS,
       "MODEL.FPN.NORM", "BN"]  # fmt: skip


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("convert", ROOT / "tools" / "convert_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """(a torchvision ResNet-18, the backbone.pkl made of it)."""
    model, path = network("resnet18", 1), tmp_path_factory.mktemp("source") / "backbone.pkl"
    write_backbone(extract_backbone(model.state_dict()), path)
    return model, path


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """{kind of backbone: (the pre-training model, its output folder)}."""
    result = {}
    for kind, options in (("resnet", []), ("fpn", FPN)):
        folder = tmp_path_factory.mktemp(kind)
        cfg = tiny_config("BYOL", "unused", folder, *options)
        model = build_model(cfg)
        for i, tensor in enumerate(model.state_dict().values()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=torch.Generator().manual_seed(i)))
        Checkpointer(model, str(folder), settings=backbone_settings(cfg)).save("model_final")
        result[kind] = (model, folder)
    return result


def read(path):
    return extract_backbone(read_checkpoint(path))


def test_the_pkl_is_that_of_pre_training(source, pretrained):
    model, path = source
    with open(path, "rb") as file:
        ours = pickle.load(file)
    with open(pretrained["resnet"][1] / "backbone.pkl", "rb") as file:
        example = pickle.load(file)
    assert set(ours) == set(example) == {"model", "__author__", "matching_heuristics", "dense_ssl"}
    assert ours["matching_heuristics"] is True and ours["__author__"] == example["__author__"]
    assert set(ours["dense_ssl"]["settings"]) == set(example["dense_ssl"]["settings"])
    assert all(isinstance(x, np.ndarray) for x in ours["model"].values())
    expected = detectron2_tensors(model)
    assert set(ours["model"]) == set(expected)
    assert all(np.array_equal(ours["model"][k], x.numpy()) for k, x in expected.items())
    assert ours["dense_ssl"]["source"] == {
        "family": "a ResNet in torchvision's or timm's names", "encoder": "online",
    }  # fmt: skip


@pytest.mark.parametrize("to, suffix", [
    ("torchvision", ".pth"), ("torchvision", ".safetensors"), ("timm", ".pth"),
    ("timm", ".safetensors"),
])  # fmt: skip
def test_torchvision_and_timm_load_it_strictly(source, tmp_path, to, suffix):
    model, path = source
    out = tmp_path / f"resnet18{suffix}"
    assert write_backbone(read(path), out, to) == []
    if suffix == ".pth":
        state = torch.load(out, weights_only=True)
    else:
        with safe_open(out, "pt") as file:
            state = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    if to == "timm":
        other = timm.create_model("resnet18", pretrained=False, num_classes=0)
        other.load_state_dict(state, strict=True)
    else:
        other = torchvision.models.resnet18()
        rest = other.load_state_dict(state, strict=False)
        assert rest.missing_keys == ["fc.weight", "fc.bias"] and rest.unexpected_keys == []
        other.fc = torch.nn.Identity()
        other.load_state_dict(state, strict=True)
    for name, x in model.state_dict().items():
        if not name.startswith("fc."):
            found = other.state_dict()[name]
            assert found == 0 if name.endswith("num_batches_tracked") else torch.equal(found, x)


def test_openmmlab_gets_its_names_and_settings(source, tmp_path):
    model, path = source
    write_backbone(read(path), tmp_path / "resnet18.pth", "mmdet")
    checkpoint = torch.load(tmp_path / "resnet18.pth", weights_only=True)
    assert set(checkpoint) == {"meta", "state_dict"}
    expected = {f"backbone.{k}" for k in model.state_dict() if not k.startswith("fc.")}
    assert set(checkpoint["state_dict"]) == expected
    weight = checkpoint["state_dict"]["backbone.layer2.0.downsample.0.weight"]
    assert torch.equal(weight, model.layer2[0].downsample[0].weight)
    assert checkpoint["meta"]["dense_ssl"]["settings"]["INPUT.FORMAT"] == "RGB"


ROUTES = [("detectron2", ".safetensors"), ("torchvision", ".pth"), ("torchvision", ".safetensors"),
          ("timm", ".safetensors"), ("mmdet", ".pth"), ("mmpretrain", ".pth")]  # fmt: skip


@pytest.mark.parametrize("to, suffix", ROUTES)
def test_there_and_back_again_nothing_is_lost(pretrained, tmp_path, to, suffix):
    """Narrow bottlenecks of a pre-training run, to another format, and back to a backbone.pkl."""
    checkpoint = read_checkpoint(pretrained["resnet"][1] / "backbone.pkl")
    stated = {"INPUT.FORMAT": "BGR", "MODEL.PIXEL_STD": [1.0, 1.0, 1.0]}
    first = extract_backbone(checkpoint, stated=stated)
    write_backbone(first, tmp_path / f"there{suffix}", to)
    second = read(tmp_path / f"there{suffix}")
    write_backbone(second, tmp_path / "back.pkl")
    third = read(tmp_path / "back.pkl")
    is_bare = (to, suffix) == ("torchvision", ".pth")  # a state dict, without settings
    for backbone in (second, third):
        assert list(backbone.weights) and set(backbone.weights) == set(first.weights)
        assert all(torch.equal(backbone.weights[k], x) for k, x in first.weights.items())
        assert backbone.architecture == first.architecture
        assert (
            backbone.settings == (checkpoint["dense_ssl"] if is_bare else vars(first))["settings"]
        )


def test_every_name_has_one_name():
    with torch.device("meta"):
        names = torchvision.models.resnet50().state_dict()
    for name in names:
        if not name.startswith("fc."):
            assert to_torchvision(to_detectron2(name)) == name
    assert to_detectron2("fc.weight") is to_torchvision("fpn_lateral2.weight") is None


@pytest.mark.parametrize("kind", ["resnet", "fpn"])
@pytest.mark.parametrize("file", ["backbone.pkl", "model_final.pth"])
def test_runs_of_this_project_are_read(pretrained, kind, file):
    model, folder = pretrained[kind]
    backbone = read(folder / file)
    is_run = file.endswith(".pth")
    assert ("pre-training" in backbone.recognised.family.title) == is_run
    expected = {k.replace("bottom_up.", ""): x for k, x in model.backbone.state_dict().items()
                if not k.endswith("num_batches_tracked")}  # fmt: skip
    assert set(backbone.weights) == set(expected)
    assert all(torch.equal(backbone.weights[k], x) for k, x in expected.items())
    assert backbone.settings["MODEL.RESNETS.NORM"] == "BN"
    assert ("MODEL.FPN.OUT_CHANNELS" in backbone.architecture) == (kind == "fpn")
    if is_run:
        average = extract_backbone(read_checkpoint(folder / file), encoder="momentum")
        target = model.target_backbone.state_dict()
        name = "bottom_up.stem.conv1.weight" if kind == "fpn" else "stem.conv1.weight"
        assert torch.equal(average.weights["stem.conv1.weight"], target[name])


def test_an_fpn_is_not_written_to_formats_without_one(pretrained, tmp_path, tool, capsys):
    path = str(pretrained["fpn"][1] / "backbone.pkl")
    assert tool([path, str(tmp_path / "x.pth"), "--to", "torchvision", "--check"]) == 0
    out = capsys.readouterr().out
    assert "with an FPN of 8 channels on res2, res3, res4, res5" in out
    assert "not in torchvision's format: 40 tensors" in out  # 8 convolutions and their batch norms
    assert "check: loaded 265 of 265 backbone tensors" in out
    assert tool([path, str(tmp_path / "x.pkl"), "--check"]) == 0
    # detectron2's top block has no tensors
    assert "check: loaded 305 of 305 backbone tensors" in capsys.readouterr().out


def zoo_checkpoint(kind):
    """A detector of detectron2's model zoo, narrow."""
    model = {"pixel_mean": torch.tensor([103.53, 116.28, 123.675]).view(3, 1, 1),
             "pixel_std": torch.ones(3, 1, 1),
             "proposal_generator.rpn_head.conv.bias": torch.ones(2),
             "roi_heads.box_predictor.cls_score.weight": torch.rand(2, 2)}  # fmt: skip
    keys = {"MODEL.RESNETS.DEPTH": 50, "MODEL.RESNETS.STEM_OUT_CHANNELS": 8,
            "MODEL.RESNETS.RES2_OUT_CHANNELS": 16, "MODEL.RESNETS.WIDTH_PER_GROUP": 4}  # fmt: skip
    backbone, _ = build({**keys, "MODEL.RESNETS.NORM": "FrozenBN"})
    for name, x in backbone.state_dict().items():
        in_head = kind == "c4" and name.startswith("res5.")
        prefix = "backbone.bottom_up." if kind == "fpn" else "backbone."
        model[("roi_heads." if in_head else prefix) + name] = x
    if kind == "c4":
        model["roi_heads.res5.norm.weight"] = torch.rand(8)
    return backbone, {"model": model, "__author__": "Detectron2 Model Zoo"}


@pytest.mark.parametrize("kind", ["c4", "fpn"])
def test_detectors_of_the_zoo_are_read(tmp_path, kind):
    network, checkpoint = zoo_checkpoint(kind)
    arrays = {k: x.numpy() for k, x in checkpoint["model"].items()}
    (tmp_path / "zoo.pkl").write_bytes(pickle.dumps({**checkpoint, "model": arrays}))
    backbone = read(tmp_path / "zoo.pkl")
    assert "detectron2's names" in backbone.recognised.family.title
    expected = network.state_dict()
    assert set(backbone.weights) == set(expected)
    assert all(torch.equal(backbone.weights[k], x) for k, x in expected.items())
    # the file says the pixels and has FrozenBN; it does not say the strides
    assert backbone.settings == {
        "INPUT.FORMAT": "BGR", "MODEL.PIXEL_MEAN": [103.53, 116.28, 123.675],
        "MODEL.PIXEL_STD": [1, 1, 1], "MODEL.RESNETS.NORM": "FrozenBN", "MODEL.RESNETS.DEPTH": 50,
    }  # fmt: skip
    assert backbone.unknown_settings == ["MODEL.RESNETS.STRIDE_IN_1X1"]
    assert any("does not say MODEL.RESNETS.STRIDE_IN_1X1" in x for x in warnings(backbone))
    assert any(x.startswith("left out") and "proposal_generator" in x for x in describe(backbone))


def test_formats_that_cannot_hold_a_network_say_so(pretrained, tmp_path):
    checkpoint = read_checkpoint(pretrained["resnet"][1] / "backbone.pkl")
    backbone = extract_backbone(checkpoint, stated={"MODEL.RESNETS.STRIDE_IN_1X1": True})
    for to in ("torchvision", "timm"):
        with pytest.raises(CheckpointError, match=f"{to}'s has them in the 3 x 3"):
            write_backbone(backbone, tmp_path / "x.pth", to)
    write_backbone(backbone, tmp_path / "x.pth", "mmdet")
    with pytest.raises(CheckpointError, match="detectron2 weights are written as .pkl or"):
        write_backbone(backbone, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="mmdet weights are written as .pth, not as .pkl"):
        write_backbone(backbone, tmp_path / "x.pkl", "mmdet")


def test_a_network_without_batch_norms_has_no_place_in_others(tmp_path):
    cfg = base_config(
        "MODEL.RESNETS.NORM", "GN", "MODEL.RESNETS.OUT_FEATURES", ["res5"],
        "MODEL.BACKBONE.FREEZE_AT", 0,
    )  # fmt: skip
    network = nn.Module()
    network.backbone = build_backbone(cfg)
    backbone = extract_backbone({"model": network.state_dict()})
    for to in ("torchvision", "timm", "mmdet"):
        with pytest.raises(CheckpointError, match="no statistics of batch norms"):
            write_backbone(backbone, tmp_path / "x.pth", to)
    assert not list(tmp_path.iterdir())


def test_the_tool_reports_what_it_does(source, tmp_path, tool, capsys):
    model, path = source
    original = tmp_path / "r18.pth"
    torch.save(model.state_dict(), original)
    assert tool([str(original)]) == 0
    out = capsys.readouterr().out
    for line in (
        "recognised: a ResNet in torchvision's or timm's names",
        "network: ResNet-18",
        "taken: 100 tensors, every one that detectron2's backbone has",
        "left out: 2 tensors (fc.* (2))",
        "  MODEL.PIXEL_MEAN: [123.675, 116.28, 103.53]",
        'MODEL.RESNETS.DEPTH "18" MODEL.RESNETS.RES2_OUT_CHANNELS "64"',
    ):
        assert line in out
    assert "wrote" not in out
    # settings, with and without an output, and a flip
    assert tool([str(original), "INPUT.FORMAT", "BGR"]) == 0
    assert "INPUT.FORMAT: BGR" in capsys.readouterr().out
    out = str(tmp_path / "out.pkl")
    assert tool([str(original), out, "INPUT.FORMAT", "BGR", "--flip-colours", "--check"]) == 0
    text = capsys.readouterr().out
    assert "it now takes RGB images" in text and "check: loaded 100 of 100 backbone" in text
    flipped = read(out)
    assert torch.equal(flipped.weights["stem.conv1.weight"], model.conv1.weight.flip(1))
    assert flipped.settings["MODEL.PIXEL_MEAN"] == [103.53, 116.28, 123.675]


def test_the_tool_explains_what_it_cannot_do(tmp_path, tool, capsys):
    assert tool([str(tmp_path / "nothing.pth")]) == 1
    assert "There is no file" in capsys.readouterr().err
    torch.save({"weights": [1, 2]}, tmp_path / "x.pth")
    assert tool([str(tmp_path / "x.pth"), str(tmp_path / "x.pkl")]) == 1
    error = capsys.readouterr().err
    assert "x.pth" in error and "holds no tensors, but the keys 'weights'" in error
    assert not (tmp_path / "x.pkl").exists()
    assert tool([str(tmp_path / "x.pth"), "MODEL.MASK_ON", "True"]) == 1


VARIANTS = {
    "seresnet18": "se.fc1.*do not exist in detectron2's ResNet",
    "resnet18d": "a ResNet with a deep stem",
    "vit_tiny_patch16_224": "This is a vision transformer",
    "resnet26": r"stages have \(2, 2, 2, 2\) bottleneck blocks",
    "mobilenetv2_035": "no ResNet was found",
}


@pytest.mark.parametrize("name", VARIANTS)
def test_other_networks_are_refused_by_what_they_are(name):
    with torch.device("meta"):
        state = timm.create_model(name, pretrained=False).state_dict()
    state = {k: torch.zeros(()).expand(x.shape) for k, x in state.items()}
    with pytest.raises(CheckpointError, match=f"(?i){VARIANTS[name]}"):
        extract_backbone(state)


def test_incomplete_and_reshaped_networks_are_refused(source):
    state = source[0].state_dict()
    with pytest.raises(CheckpointError, match="missing: 1 .*res4.1.conv2"):
        extract_backbone({k: x for k, x in state.items() if k != "layer3.1.conv2.weight"})
    with pytest.raises(CheckpointError, match=r"stem.conv1.weight is \(64, 3, 3, 3\), detectron2"):
        extract_backbone({**state, "conv1.weight": torch.rand(64, 3, 3, 3)})
    with pytest.raises(CheckpointError, match="res5.0.conv1.norm.bias is .7,., detectron2's is"):
        extract_backbone({**state, "layer4.0.bn1.bias": torch.rand(7)})
    with pytest.raises(CheckpointError, match="unexpected: 1 .*res2.0.conv1"):
        extract_backbone({**state, "layer1.0.conv1.bias": torch.rand(64)})


def test_safetensors_carry_the_settings_in_their_header(source, tmp_path):
    write_backbone(read(source[1]), tmp_path / "x.safetensors")
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        header = json.loads(file.metadata()["dense_ssl"])
    assert header["settings"]["INPUT.FORMAT"] == "RGB" and header["format"] == "detectron2"
    assert header["architecture"]["MODEL.RESNETS.DEPTH"] == 18
