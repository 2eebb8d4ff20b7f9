"""From pre-training to detectors: every tensor arrives, or an error names what differs."""

import logging
import os
import pickle

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model
from helpers import CONFIGS, base_config, recorded_log, tiny_config

import dense_ssl.modeling  # noqa: F401 (registration only)
from dense_ssl.checkpoint import Checkpointer, backbone_settings
from dense_ssl.checkpoint.handover import check_settings

MASK_FPN = "COCO-InstanceSegmentation/mask_rcnn_R_18_FPN.yaml"
MASK_C4 = "COCO-InstanceSegmentation/mask_rcnn_R_18_C4.yaml"
RETINANET = "COCO-Detection/retinanet_R_18_FPN.yaml"
NARROW = [
    "MODEL.DEVICE", "cpu", "MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.RESNETS.STEM_OUT_CHANNELS", 8,
    "MODEL.RESNETS.NORM", "BN", "MODEL.FPN.NORM", "BN", "MODEL.FPN.OUT_CHANNELS", 8,
]  # fmt: skip
SMALL_HEADS = ["MODEL.ROI_BOX_HEAD.FC_DIM", 8, "MODEL.ROI_MASK_HEAD.CONV_DIM", 8]


def pyramid(levels, name="build_resnet_fpn_backbone"):
    return ["MODEL.BACKBONE.NAME", name, "MODEL.RESNETS.OUT_FEATURES", levels,
            "MODEL.FPN.IN_FEATURES", levels]  # fmt: skip


BACKBONES = {
    "resnet": [],
    "fpn": pyramid(["res2", "res3", "res4", "res5"]),
    "retinanet": pyramid(["res3", "res4", "res5"], "build_retinanet_resnet_fpn_backbone"),
}
# what detector, from what backbone, and what of the detector cannot come from it
ROUTES = {
    "resnet to mask fpn": ("resnet", MASK_FPN, "fpn_"),
    "resnet to mask c4": ("resnet", MASK_C4, None),
    "fpn to mask fpn": ("fpn", MASK_FPN, None),
    "fpn to retinanet": ("fpn", RETINANET, "top_block"),
    "retinanet to retinanet": ("retinanet", RETINANET, None),
}


def randomise(model, seed):
    """Give every tensor of a model a value of its own, norm statistics included."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in model.state_dict().values():
        if tensor.dtype.is_floating_point:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + seed)
    return model


def pretrainer(folder, kind="resnet", *options, seed=1):
    """(model, its checkpointer), written nowhere yet."""
    cfg = tiny_config("BYOL", "unused", folder, *NARROW, *BACKBONES[kind], *options)
    model = randomise(build_model(cfg), seed)
    return model, Checkpointer(model, str(folder), settings=backbone_settings(cfg))


def detector_config(config=MASK_FPN, *options):
    cfg = base_config()
    cfg.merge_from_file(str(CONFIGS / "mini" / "finetune" / config))
    cfg.merge_from_list([*NARROW, *SMALL_HEADS, *options])
    return cfg


def detector(config=MASK_FPN, *options, check=True, seed=100):
    """(model, its checkpointer)."""
    cfg = detector_config(config, *options)
    model = randomise(build_model(cfg), seed)
    return model, Checkpointer(model, "", settings=backbone_settings(cfg), check=check)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """{kind of backbone: (the model, its output folder)} of finished pre-trainings."""
    result = {}
    for kind in BACKBONES:
        folder = tmp_path_factory.mktemp(kind)
        model, checkpointer = pretrainer(folder, kind)
        checkpointer.save("model_final")
        result[kind] = (model, folder)
    return result


@pytest.fixture
def log():
    """What the checkpointer says, whatever has been done to the log's propagation."""
    with recorded_log("dense_ssl.checkpoint.checkpointer", logging.INFO) as records:
        yield records


def expected_pairs(model, state):
    """[(name in the detector, tensor of pre-training)], [names without a source]."""
    plain = {k.replace("bottom_up.", ""): x for k, x in state.items()}
    pairs, rest = [], []
    for name in model.state_dict():
        is_backbone = name.startswith(("backbone.", "roi_heads.res5."))
        if not is_backbone or "res5.norm." in name or name.endswith("num_batches_tracked"):
            continue
        source = name.replace("roi_heads.res5.", "backbone.res5.").replace("bottom_up.", "")
        pairs.append((name, plain[source])) if source in plain else rest.append(name)
    return pairs, rest


@pytest.mark.parametrize("route", ROUTES)
def test_every_tensor_arrives_and_is_counted(runs, log, route):
    """From either file of a run; stock detectron2 loads the same from backbone.pkl."""
    kind, config, missing = ROUTES[route]
    source, folder = runs[kind]
    model, checkpointer = detector(config)
    for file in ("model_final.pth", "backbone.pkl"):
        randomise(model, 100)
        before = {k: x.clone() for k, x in model.state_dict().items()}
        del log[:]
        checkpointer.load(str(folder / file))
        state = model.state_dict()
        pairs, rest = expected_pairs(model, source.state_dict())
        assert len(pairs) >= 265  # 53 convolutions and their batch norms
        for name, tensor in pairs:
            assert torch.equal(state[name], tensor), name
        assert bool(rest) == (missing is not None) and all(missing in x for x in rest)
        untouched = set(state) - {name for name, _ in pairs}
        assert all(torch.equal(state[x], before[x]) for x in untouched)
        message = f"loaded {len(pairs)} of {len(pairs) + len(rest)} backbone tensors from "
        assert message + str(folder / file) in log
        assert len([x for x in log if x.startswith("loaded")]) == 1
        # a head is new in every detector, and no reason for a warning
        (new,) = [x for x in log if "start randomly" in x]
        assert ("backbone." in new) == (missing is not None)
        assert (missing or "").strip("_") in new
        assert not any("not in the file" in x for x in log)
    stock, _ = detector(config)
    DetectionCheckpointer(stock).load(str(folder / "backbone.pkl"))
    for (name, a), b in zip(state.items(), stock.state_dict().values()):
        assert torch.equal(a, b), name


def test_a_lost_tensor_is_a_warning(runs, log, tmp_path):
    """Of the network, of an FPN of which the rest is there, and of a detector's own head."""
    _, folder = runs["fpn"]
    for lost in ("backbone.bottom_up.res3.0.conv1.weight", "backbone.fpn_lateral4.weight"):
        data = torch.load(folder / "model_final.pth", weights_only=True)
        del data["model"][lost]
        torch.save(data, tmp_path / "model.pth")
        del log[:]
        with recorded_log("fvcore.common.checkpoint", logging.WARNING) as warnings:
            detector()[1].load(str(tmp_path / "model.pth"))
        # the report names it: fvcore's list would name it again
        assert not any(lost in x for x in warnings)
        assert any("still randomly initialised" in x for x in log), lost
    _, own = detector(seed=5)
    own.save_dir = str(tmp_path)
    own.save("model_final")
    data = torch.load(tmp_path / "model_final.pth", weights_only=True)
    del data["model"]["roi_heads.box_predictor.cls_score.weight"]
    torch.save(data, tmp_path / "model.pth")
    del log[:]
    with recorded_log("fvcore.common.checkpoint", logging.WARNING) as warnings:
        detector()[1].load(str(tmp_path / "model.pth"))
    assert len(warnings) == 1 and "box_predictor.cls_score" in warnings[0]
    assert not any("start randomly" in x for x in log)


def test_weights_for_both_encoders_give_no_warning(runs, log, tmp_path):
    with recorded_log("fvcore.common.checkpoint", logging.WARNING) as warnings:
        pretrainer(tmp_path)[1].load(str(runs["resnet"][1] / "backbone.pkl"))
    assert warnings == []
    assert any("start randomly" in x and "objectives" in x for x in log)


def test_a_detector_loads_its_own_checkpoint_whole(runs, log, tmp_path):
    first, checkpointer = detector(seed=5)
    checkpointer.save_dir = str(tmp_path)
    checkpointer.save("model_final")
    assert "backbone.pkl" not in os.listdir(tmp_path)
    second, other = detector(seed=6)
    other.load(str(tmp_path / "model_final.pth"))
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values()):
        assert torch.equal(a, b), name
    count = len(expected_pairs(first, first.state_dict())[0])
    assert any(x.startswith(f"loaded {count} of {count} backbone tensors") for x in log)


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_backbone_fills_online_and_target_encoder(runs, log, tmp_path, kind):
    source, folder = runs[kind]
    model, checkpointer = pretrainer(tmp_path, kind, seed=50)
    heads = {k: x.clone() for k, x in model.state_dict().items() if k.startswith("objectives.")}
    checkpointer.load(str(folder / "backbone.pkl"))
    state = model.state_dict()
    for name, tensor in source.state_dict().items():
        if name.startswith("backbone.") and not name.endswith("num_batches_tracked"):
            assert torch.equal(state[name], tensor) and torch.equal(state[f"target_{name}"], tensor)
    assert all(torch.equal(state[k], x) for k, x in heads.items())
    count = len(expected_pairs(model, source.state_dict())[0])
    assert any(x.startswith(f"loaded {count} of {count} backbone tensors") for x in log)


DIFFERENT = [
    ("INPUT.FORMAT", "BGR"), ("MODEL.PIXEL_MEAN", [103.53, 116.28, 123.675]),
    ("MODEL.PIXEL_STD", [1.0, 1.0, 1.0]), ("MODEL.RESNETS.STRIDE_IN_1X1", True),
    ("MODEL.RESNETS.NORM", "FrozenBN"), ("MODEL.RESNETS.DEPTH", 101),
]  # fmt: skip


def test_other_settings_are_an_error_that_names_the_key(runs):
    _, checkpointer = detector()
    for key, value in DIFFERENT:
        checkpointer.settings = backbone_settings(detector_config(MASK_FPN, key, value))
        for file in ("backbone.pkl", "model_final.pth"):
            with pytest.raises(ValueError, match=f"{key}: the weights have"):
                checkpointer.load(str(runs["resnet"][1] / file))


@pytest.mark.parametrize("key, value, named", [
    ("MODEL.RESNETS.RES2_OUT_CHANNELS", 32, "MODEL.RESNETS.DEPTH, its widths"),
    ("MODEL.FPN.OUT_CHANNELS", 16, "MODEL.FPN.OUT_CHANNELS"),
    ("MODEL.FPN.NORM", "", "MODEL.FPN.NORM: the weights have 'BN', this run ''"),
])  # fmt: skip
def test_other_widths_are_an_error_that_names_the_key(runs, key, value, named):
    _, checkpointer = detector(MASK_FPN, key, value)
    with pytest.raises(ValueError, match=named):
        checkpointer.load(str(runs["fpn"][1] / "backbone.pkl"))


def test_the_norm_of_an_fpn_matters_only_where_both_have_one(runs):
    with open(runs["resnet"][1] / "backbone.pkl", "rb") as file:
        saved = pickle.load(file)["dense_ssl"]["settings"]
    check_settings(saved, backbone_settings(detector_config(MASK_FPN, "MODEL.FPN.NORM", "")), "x")


@pytest.mark.parametrize("norm", ["SyncBN", "naiveSyncBN", "nnSyncBN", "BN"])
def test_batch_norms_are_all_the_same(norm):
    def settings(x):
        return {"MODEL.RESNETS.NORM": x}

    check_settings(settings(norm), settings("BN"), "x")
    check_settings(settings("SyncBN"), settings(norm), "x")
    for other in ("FrozenBN", "GN", ""):
        with pytest.raises(ValueError, match="MODEL.RESNETS.NORM"):
            check_settings(settings(norm), settings(other), "x")


def test_nothing_that_fits_is_an_error(tmp_path):
    weights = {f"layer{i}.weight": torch.zeros(3).numpy() for i in range(3)}
    path = tmp_path / "other.pkl"
    data = {"model": weights, "__author__": "someone", "matching_heuristics": True}
    path.write_bytes(pickle.dumps(data))
    _, checkpointer = detector()
    with pytest.raises(ValueError, match="loaded 0 of .* MODEL.WEIGHTS .*MODEL.BACKBONE.NAME"):
        checkpointer.load(str(path))
    detector(check=False)[1].load(str(path))


def test_without_the_check_everything_passes(runs, log):
    source, folder = runs["resnet"]
    options = [x for pair in DIFFERENT[:4] for x in pair]
    model, checkpointer = detector(MASK_FPN, *options, check=False)
    checkpointer.load(str(folder / "backbone.pkl"))
    pairs, rest = expected_pairs(model, source.state_dict())
    assert all(torch.equal(model.state_dict()[name], x) for name, x in pairs)
    assert any(x.startswith(f"loaded {len(pairs)} of {len(pairs) + len(rest)} ") for x in log)
    detector(MASK_FPN, "MODEL.RESNETS.RES2_OUT_CHANNELS", 32, check=False)[1].load(
        str(folder / "backbone.pkl")
    )
