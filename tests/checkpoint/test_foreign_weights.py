"""MODEL.WEIGHTS that other projects wrote: loaded where that is safe, explained where not."""

import logging
import pickle

import pytest
import timm
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model
from helpers import CONFIGS, base_config, recorded_log, tiny_config
from safetensors.torch import save_file
from torch import nn
from weight_files import body, detectron2_tensors, linear, network, wrapped

import dense_ssl.modeling  # noqa: F401 (registration only)
from dense_ssl.checkpoint import Checkpointer, backbone_settings
from dense_ssl.checkpoint.formats import extract_backbone, write_backbone
from dense_ssl.checkpoint.formats.architecture import build

R18 = {"MODEL.RESNETS.DEPTH": 18, "MODEL.RESNETS.RES2_OUT_CHANNELS": 64}
INPUT = {"INPUT.FORMAT": "RGB", "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
         "MODEL.PIXEL_STD": [58.395, 57.12, 57.375], "MODEL.RESNETS.STRIDE_IN_1X1": False,
         "MODEL.RESNETS.NORM": "BN"}  # fmt: skip


@pytest.fixture(scope="module")
def source():
    return network("resnet18", 1)


@pytest.fixture
def log():
    with recorded_log("dense_ssl.checkpoint.loading", logging.INFO) as first:
        with recorded_log("dense_ssl.checkpoint.checkpointer", logging.INFO) as second:
            yield lambda: first + second


def holder(check=True, needed="", **more):
    """(a model that is a backbone alone, its checkpointer)."""
    model = nn.Module()
    model.backbone, cfg = build({**R18, **INPUT, **more})
    settings = backbone_settings(cfg)
    return model, Checkpointer(model, settings=settings, check=check, needed=needed)


def check_filled(model, source, prefix="backbone."):
    state = model.state_dict()
    for name, x in detectron2_tensors(source).items():
        assert torch.equal(state[prefix + name], x), name


def moco(source):
    heads = {**linear("encoder_q.fc"), "queue": torch.rand(2, 3)}
    state = {**body(source, "encoder_q."), **body(network("resnet18", 9), "encoder_k."), **heads}
    return {"epoch": 200, "arch": "resnet18", "state_dict": wrapped(state), "optimizer": {}}


def test_a_foreign_file_is_recognised_and_loaded(source, tmp_path, log):
    path = tmp_path / "moco.pth.tar"
    torch.save(moco(source), path)
    model, checkpointer = holder(needed="backbone")
    checkpointer.load(str(path))
    check_filled(model, source)
    messages = log()
    assert f"{path} is MoCo v1 or v2, or a method in its layout (DetCo): its online encoder is " \
        "loaded (100 tensors)" in messages  # fmt: skip
    assert any(x.startswith("left out of it: encoder_q.* (2), queue, encoder_k.*")
               or "encoder_k.*" in x and "queue" in x for x in messages)  # fmt: skip
    assert f"loaded 100 of 100 backbone tensors from {path}" in messages
    assert checkpointer.loaded == (100, 100)


def test_it_reaches_every_part_of_a_detector(source, tmp_path):
    torch.save(source.state_dict(), tmp_path / "r18.pth")
    cfg = base_config()
    name = "COCO-InstanceSegmentation/mask_rcnn_R_18_FPN.yaml"
    cfg.merge_from_file(str(CONFIGS / "mini" / "finetune" / name))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.RESNETS.NORM", "BN", "MODEL.FPN.NORM", "BN",
                         "MODEL.FPN.OUT_CHANNELS", 8, "MODEL.ROI_BOX_HEAD.FC_DIM", 8,
                         "MODEL.ROI_MASK_HEAD.CONV_DIM", 8])  # fmt: skip
    model = build_model(cfg)
    Checkpointer(model, settings=backbone_settings(cfg)).load(str(tmp_path / "r18.pth"))
    check_filled(model, source, "backbone.bottom_up.")


def test_it_starts_both_encoders_of_pre_training(source, tmp_path):
    torch.save(source.state_dict(), tmp_path / "r18.pth")
    options = [x for pair in {**R18, "MODEL.RESNETS.STEM_OUT_CHANNELS": 64}.items() for x in pair]
    model = build_model(cfg := tiny_config("BYOL", "unused", tmp_path, *options))
    Checkpointer(model, settings=backbone_settings(cfg)).load(str(tmp_path / "r18.pth"))
    check_filled(model, source)
    check_filled(model, source, "target_backbone.")


def test_what_it_was_trained_with_is_compared(source, tmp_path):
    torch.save(source.state_dict(), tmp_path / "r18.pth")
    _, checkpointer = holder()
    settings = checkpointer.settings
    for key, value in (
        ("INPUT.FORMAT", "BGR"), ("MODEL.PIXEL_MEAN", [103.53, 116.28, 123.675]),
        ("MODEL.RESNETS.STRIDE_IN_1X1", True), ("MODEL.RESNETS.NORM", "FrozenBN"),
        ("MODEL.RESNETS.DEPTH", 34),
    ):  # fmt: skip
        assert key in settings
        checkpointer.settings = {**settings, key: value}
        with pytest.raises(ValueError, match=f"{key}: the weights have"):
            checkpointer.load(str(tmp_path / "r18.pth"))


def test_a_file_that_does_not_tell_names_the_tool(source, tmp_path):
    path = tmp_path / "plain.pth"
    torch.save({"state_dict": source.state_dict()}, path)
    with pytest.raises(ValueError, match="does not say MODEL.PIXEL_MEAN, MODEL.PIXEL_STD") as info:
        holder()[1].load(str(path))
    command = f"python tools/convert_weights.py {path} backbone.pkl MODEL.PIXEL_MEAN"
    assert command in str(info.value)
    model, checkpointer = holder(check=False)
    checkpointer.load(str(path))
    check_filled(model, source)


def test_names_that_fit_nothing_point_to_the_tool(tmp_path):
    torch.save({"a.weight": torch.rand(2)}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="loaded 0 of 100 .*tools/convert_weights.py FILE` says"):
        holder()[1].load(str(tmp_path / "x.pth"))


def test_an_unsuitable_network_is_explained(tmp_path):
    torch.save(timm.create_model("seresnet18").state_dict(), tmp_path / "x.pth")
    with pytest.raises(ValueError, match="x.pth: .*se.fc1.*squeeze-and-excitation"):
        holder()[1].load(str(tmp_path / "x.pth"))


def test_a_model_with_the_names_of_the_file_is_loaded_as_it_is(source, tmp_path):
    """A backbone of another library has other names than detectron2's, also in its own runs."""
    other = network("resnet18", 7)
    model = nn.Module()
    model.backbone = other
    state = {f"backbone.{k}": x for k, x in source.state_dict().items()}
    # what would be taken for OpenMMLab's
    torch.save({"meta": {}, "state_dict": {}, "model": state}, tmp_path / "x.pth")
    Checkpointer(model, settings={}).load(str(tmp_path / "x.pth"))
    for (name, x), y in zip(other.state_dict().items(), source.state_dict().values()):
        assert torch.equal(x, y), name


@pytest.mark.parametrize("fill", ["safetensors of this project", "detectron2's names", "timm"])
def test_safetensors_are_weights_too(source, tmp_path, fill):
    path = tmp_path / "x.safetensors"
    backbone = extract_backbone(source.state_dict())
    if fill == "detectron2's names":
        save_file({f"backbone.{k}": x for k, x in backbone.weights.items()}, path)
    elif fill == "timm":
        save_file(source.state_dict(), path)
    else:
        write_backbone(backbone, path)
    model, checkpointer = holder(needed="backbone")
    checkpointer.load(str(path))
    check_filled(model, source)
    if fill == "safetensors of this project":
        with pytest.raises(ValueError, match="INPUT.FORMAT: the weights have 'RGB'"):
            holder(**{"INPUT.FORMAT": "BGR"})[1].load(str(path))


def test_what_detectron2_loads_is_loaded_alike(tmp_path):
    """Bare names with the query, pycls' files, the zoo's with tensors instead of arrays."""
    widths = {"STEM_OUT_CHANNELS": 8, "RES2_OUT_CHANNELS": 16, "WIDTH_PER_GROUP": 4, "DEPTH": 50}
    narrow = {f"MODEL.RESNETS.{key}": value for key, value in widths.items()}
    weights = {k: torch.rand(x.shape) for k, x in holder(**narrow)[0].backbone.state_dict().items()
               if not k.endswith("num_batches_tracked")}  # fmt: skip
    pycls = {**weights, "stem.conv1.norm.num_batches_tracked": torch.tensor(3)}
    files = {
        "bare.pth?matching_heuristics=True": weights,
        "full.pth": {f"backbone.{k}": x for k, x in weights.items()},
        "wrapped.pth": {"model": {f"module.backbone.{k}": x for k, x in weights.items()}},
        "run.pyth": {"epoch": 3, "model_state": pycls},
        "zoo.pkl": {"model": dict(weights), "__author__": "x", "matching_heuristics": True},
    }
    stock, _ = holder(**narrow)
    ours, checkpointer = holder(needed="backbone", **narrow)
    for name, content in files.items():
        path = tmp_path / name.split("?")[0]
        if name.endswith(".pkl"):
            path.write_bytes(pickle.dumps(content))
        else:
            torch.save(content, path)
        for x in [*stock.state_dict().values(), *ours.state_dict().values()]:
            x.zero_()
        DetectionCheckpointer(stock).load(str(tmp_path / name))
        checkpointer.load(str(tmp_path / name))
        for (key, x), y in zip(stock.state_dict().items(), ours.state_dict().values()):
            assert torch.equal(x, y), (name, key)
        assert all(torch.equal(ours.backbone.state_dict()[k], x) for k, x in weights.items())
    with pytest.raises(ValueError, match="only matching_heuristics is known, not .'other'"):
        holder()[1].load(str(tmp_path / "bare.pth") + "?other=1")


def test_after_an_error_the_next_file_loads(source, tmp_path):
    (tmp_path / "empty.pth").write_bytes(b"")
    torch.save(source.state_dict(), tmp_path / "r18.pth")
    model, checkpointer = holder()
    with pytest.raises(ValueError, match="is empty"):
        checkpointer.load(str(tmp_path / "empty.pth"))
    checkpointer.load(str(tmp_path / "r18.pth"))
    check_filled(model, source)


def test_strict_loading_wants_every_tensor(source, tmp_path):
    weights = extract_backbone(source.state_dict()).weights
    weights.pop("res4.1.conv2.norm.bias")
    content = {"model": {k: x.numpy() for k, x in weights.items()}, "__author__": "x",
               "matching_heuristics": True}  # fmt: skip
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
    _, checkpointer = holder()
    checkpointer.load(str(tmp_path / "x.pkl"))
    assert checkpointer.loaded == (99, 100)
    with pytest.raises(
        ValueError, match="fills 99 of 100 .*res4.1.conv2.norm is missing or has another shape"
    ):
        holder(needed="backbone")[1].load(str(tmp_path / "x.pkl"))
