"""Other projects' checkpoints: recognised, and the right encoder taken bit by bit."""

import argparse
from types import SimpleNamespace

import pytest
import torch
from weight_files import (
    body,
    detectron2_tensors,
    indexed,
    linear,
    network,
    simclr_v2,
    soco_fpn,
    wrapped,
)

from dense_ssl.checkpoint.formats import (
    FAMILIES,
    CheckpointError,
    architecture,
    extract_backbone,
    read_checkpoint,
)

IMAGENET = {
    "INPUT.FORMAT": "RGB",
    "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
    "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.RESNETS.NORM": "BN",
}
UNIT = {**IMAGENET, "MODEL.PIXEL_MEAN": [0, 0, 0], "MODEL.PIXEL_STD": [255, 255, 255]}
SWAV = {**IMAGENET, "MODEL.PIXEL_STD": [58.14, 57.12, 57.375]}
NOT_KNOWN = {k: x for k, x in IMAGENET.items() if "PIXEL" not in k}


@pytest.fixture(scope="module", autouse=True)
def built_once():
    """detectron2's networks are compared by shape alone, so each is built once."""
    build, built = architecture.build, {}

    def cached(keys):
        if str(keys) not in built:
            built[str(keys)] = build(keys)
        return built[str(keys)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(architecture, "build", cached)
        yield


@pytest.fixture(scope="module")
def networks():
    return {"online": network("resnet18", 1), "momentum": network("resnet18", 2)}


def case(title, online, momentum=None, heads="", keys="", settings=IMAGENET, names=body,
         taken="online", left=None, also=None):  # fmt: skip
    """A checkpoint, and what must be found in it.

    Args:
        title: part of the family's title.
        online, momentum: where the encoders are: "key/prefix.", or "prefix." in the file itself.
        heads: names of other tensors beside the encoder that is taken, by spaces.
        keys: other keys of the file.
        settings, taken: what is expected of the settings and of the encoder.
        names: how the tensors are named: ``body`` or ``indexed``.
        left: start of a name that must be left out; None takes the first of ``heads``.
        also: another place with a copy of the online encoder.
    """
    left = left or (heads.split()[0] if heads else None)
    return SimpleNamespace(**locals())


# as the projects' own code saves them
CASES = {
    "moco v1": case("MoCo v1 or v2", "state_dict/encoder_q.", "state_dict/encoder_k.",
                    "encoder_q.fc queue queue_ptr", "epoch arch optimizer", left="encoder_k."),
    "moco v2": case("MoCo v1 or v2", "state_dict/encoder_q.", "state_dict/encoder_k.",
                    "encoder_q.fc.0 encoder_q.fc.2 encoder_k.fc.0 queue", "epoch"),
    "moco v3": case("MoCo v3", "state_dict/base_encoder.", "state_dict/momentum_encoder.",
                    "base_encoder.fc.0 predictor.0", "optimizer scaler"),
    # the stages once more, under the list that holds them
    "detco": case("MoCo v1 or v2", "state_dict/encoder_q.", "state_dict/encoder_k.",
                  "encoder_q.global_mlps.0 encoder_q.layers.0.0.conv1", "optimizer"),
    "densecl": case("DenseCL", "state_dict/encoder_q.0.", "state_dict/encoder_k.0.",
                    "queue2 encoder_q.1.mlp.0 encoder_q.1.mlp2.0", "meta optimizer",
                    also="state_dict/backbone."),
    "openselfsup moco": case("DenseCL of OpenSelfSup", "state_dict/encoder_q.0.",
                             "state_dict/encoder_k.0.", "queue", "meta",
                             also="state_dict/backbone.", left="backbone."),
    "openselfsup byol": case("BYOL of OpenSelfSup", "state_dict/online_net.0.",
                             "state_dict/target_net.0.", "head.predictor", "meta",
                             also="state_dict/backbone."),
    "pixpro": case("PixPro", "model/encoder.", "model/encoder_k.",
                   "value_transform projector.linear1 projector_k.l", "optimizer opt scheduler"),
    "pixpro without transform": case("PixPro", "model/encoder.", "model/encoder_k.",
                                     "projector_k.linear1 projector.linear1", "optimizer"),
    "soco": case("SoCo", "model/encoder.", "model/encoder_k.",
                 "predictor.linear1 projector.linear1 queue", "optimizer opt"),
    "scrl": case("SCRL", "online_network_state_dict/encoder.",
                 "target_network_state_dict/encoder.", "projector.fc",
                 "tag epoch predictor_state_dict optimizer_state_dict", names=indexed),
    "sthalles byol": case("PyTorch-BYOL", "online_network_state_dict/encoder.",
                          "target_network_state_dict/encoder.", "projetion.net.0",
                          settings=UNIT, names=indexed, also="encoder_state_dict/"),
    "byol ddp": case("BYOL-PyTorch", "model/online_network.encoder.",
                     "model/target_network.encoder.", "predictor.predictor.l1 online_network.p.l1",
                     "optimizer config steps amp", names=indexed),
    "byol ddp, its backbone": case("BYOL-PyTorch", "online_backbone/", names=indexed),
    "byol lucidrains": case("byol-pytorch", "online_encoder.net.", "target_encoder.net.",
                            "online_predictor.0 online_encoder.projector.0 net.fc", also="net."),
    "byol lucidrains, lightning": case(
        "byol-pytorch", "state_dict/learner.online_encoder.net.",
        "state_dict/learner.target_encoder.net.", "learner.online_predictor.0",
        "pytorch-lightning_version", also="state_dict/learner.net.", left="net."),
    "dino": case("DINO", "student/backbone.", "teacher/backbone.", "head.mlp.0",
                 "optimizer args dino_loss", taken="momentum"),
    "swav": case("SwAV", "", None, "prototypes projection_head.0", settings=SWAV),
    "swav, a run": case("SwAV", "state_dict/", None, "prototypes projection_head.0",
                        "optimizer amp", settings=SWAV),
    "sthalles simclr": case("SimCLR (sthalles)", "state_dict/backbone.", None,
                            "backbone.fc.0 backbone.fc.2", "arch optimizer", settings=UNIT),
    "spijkervet": case("Spijkervet", "encoder.", None, "projector.0 projector.2",
                       settings=NOT_KNOWN),
    "leftthomas": case("leftthomas", "f.", None, "g.0 g.2", settings=NOT_KNOWN, names=indexed),
    "simsiam": case("SimSiam", "state_dict/encoder.", None, "encoder.fc.0 encoder.fc.6 predictor.0",
                    "arch optimizer"),
    "bolts": case("lightning-bolts", "state_dict/encoder.", None, "projection.model.0",
                  settings=NOT_KNOWN),
    "solo-learn": case("solo-learn", "state_dict/backbone.", "state_dict/momentum_backbone.",
                       "classifier projector.0 predictor.0", "epoch"),
    "solo-learn, old": case("solo-learn", "state_dict/encoder.", "state_dict/momentum_encoder.",
                            "classifier"),
    "lightly": case("lightly", "state_dict/backbone.", "state_dict/backbone_momentum.",
                    "criterion.memory_bank projection_head.layers.0", names=indexed),
    "lightly, named": case("lightly", "state_dict/backbone.", "state_dict/teacher_backbone.",
                           "projection_head.l.0"),
    "lightly dino": case("DINO of lightly", "state_dict/student_backbone.",
                         "state_dict/teacher_backbone.", "student_head.layers.0", names=indexed,
                         taken="momentum"),
    "lightly dino, benchmark": case("DINO of lightly", "state_dict/student_backbone.",
                                    "state_dict/backbone.", "projection_head.l.0",
                                    taken="momentum"),
    "lightly moco, benchmark": case("MoCo of lightly", "state_dict/query_backbone.",
                                    "state_dict/backbone.", "projection_head.l.0"),
    "mmselfsup": case("OpenMMLab", "state_dict/backbone.", "state_dict/target_net.module.0.",
                      "neck.mlp.0 target_net.steps", "meta"),
    "mmdetection": case("OpenMMLab", "state_dict/backbone.", None,
                        "bbox_head.fc_cls neck.lateral_convs.0.conv", "meta optimizer"),
    "barlow twins": case("Barlow Twins", "model/backbone.", None, "projector.0 bn", "optimizer"),
    "vissl": case("VISSL", "classy_state_dict/base_model/model/trunk/_feature_blocks.",
                  keys="iteration"),
    "openselfsup, extracted": case("torchvision's names", "state_dict/", keys="author"),
    "imagenet example": case("training run", "state_dict/", None, "fc", "arch optimizer"),
    "timm, a run": case("training run", "state_dict/", "state_dict_ema/", "fc", "optimizer args"),
    "torchvision reference": case("training run", "model/", None, "fc", "optimizer args"),
    "simclr v1, or others": case("plain ResNet under `state_dict`", "state_dict/", None, "fc",
                                 settings=NOT_KNOWN),
    "torchvision": case("torchvision's or timm's", "", None, "fc"),
}  # fmt: skip


def checkpoint_of(x, networks):
    """The checkpoint of a case; names are wrapped as DistributedDataParallel does."""
    data = {key: 1 for key in x.keys.split()}
    for place, model in ((x.momentum, "momentum"), (x.also, "online"), (x.online, "online")):
        if place is not None:
            *path, prefix = place.split("/")
            tensors = x.names(networks[model], prefix)
            if place == getattr(x, x.taken):
                tensors.update({k: v for name in x.heads.split() for k, v in linear(name).items()})
            holder = data
            for key in path:
                holder = holder.setdefault(key, {})
            holder.update(wrapped(tensors) if path else tensors)
    return data


def check_equal(backbone, model):
    expected = detectron2_tensors(model)
    assert set(backbone.weights) == set(expected)
    for name, x in expected.items():
        assert torch.equal(backbone.weights[name], x), name
        assert backbone.weights[name].dtype == x.dtype


@pytest.mark.parametrize("name", CASES)
def test_a_family_is_recognised_and_either_encoder_taken_bit_by_bit(networks, name):
    x = CASES[name]
    checkpoint = checkpoint_of(x, networks)
    backbone = extract_backbone(checkpoint)
    assert x.title in backbone.recognised.family.title
    assert backbone.recognised.encoder == x.taken
    check_equal(backbone, networks[x.taken])
    assert backbone.settings == {**x.settings, "MODEL.RESNETS.DEPTH": 18}
    assert bool(backbone.left_out) == (x.left is not None)
    assert x.left is None or any(name.startswith(x.left) for name in backbone.left_out)
    assert backbone.architecture == {
        "MODEL.RESNETS.DEPTH": 18,
        "MODEL.RESNETS.STEM_OUT_CHANNELS": 64,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
    }
    other = {"online": "momentum", "momentum": "online"}[x.taken]
    if x.momentum is None:
        with pytest.raises(CheckpointError, match="holds no momentum encoder, only online"):
            extract_backbone(checkpoint, encoder="momentum")
    else:
        assert backbone.recognised.others == (other,)
        check_equal(extract_backbone(checkpoint, encoder=other), networks[other])


def test_every_family_is_tested():
    untested = [x.title for x in FAMILIES if not any(y.title in x.title for y in CASES.values())]
    assert untested == [
        "a pre-training checkpoint of DenseSSL", "a detector or backbone in detectron2's names",
        "SimCLR v2, converted to PyTorch",
    ]  # fmt: skip


def test_saved_and_read_again_it_is_the_same(networks, tmp_path):
    checkpoint = checkpoint_of(CASES["dino"], networks)
    checkpoint["args"] = argparse.Namespace(arch="resnet18")
    torch.save(checkpoint, tmp_path / "checkpoint.pth.tar")
    check_equal(extract_backbone(read_checkpoint(tmp_path / "checkpoint.pth.tar")),
                networks["momentum"])  # fmt: skip


@pytest.mark.parametrize("naming", ["torchvision", "lightly", "SimCLR v2"])
def test_bottlenecks_in_every_naming(naming):
    model = network("resnet50", 3, width_per_group=4)
    checkpoint, settings = {
        "torchvision": (model.state_dict(), IMAGENET),
        "lightly": ({**indexed(model, "backbone."), **linear("projection_head.0")}, IMAGENET),
        "SimCLR v2": ({"resnet": simclr_v2(model), "head": linear("layers.0")}, UNIT),
    }[naming]
    backbone = extract_backbone(checkpoint)
    assert naming in backbone.recognised.family.title
    check_equal(backbone, model)
    assert backbone.settings == {**settings, "MODEL.RESNETS.DEPTH": 50}
    assert backbone.architecture == {
        "MODEL.RESNETS.DEPTH": 50, "MODEL.RESNETS.STEM_OUT_CHANNELS": 64,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 256, "MODEL.RESNETS.NUM_GROUPS": 1,
        "MODEL.RESNETS.WIDTH_PER_GROUP": 4,
    }  # fmt: skip


@pytest.mark.parametrize("first", [2, 3])
def test_fpn_and_box_head_of_soco(networks, first):
    """The indices of an FPN start at 0 whatever stage it reads first."""
    checkpoint = checkpoint_of(CASES["soco"], networks)
    state = soco_fpn([64, 128, 256, 512][first - 2 :])
    checkpoint["model"].update(wrapped({**state, **soco_fpn([64, 128, 256, 512], "x.")}))
    backbone = extract_backbone(checkpoint)
    for level in range(first, 6):
        for kind, name in (("lateral", "lateral"), ("fpn", "output")):
            start = f"neck.{kind}_convs.{level - first}"
            taken = backbone.weights[f"fpn_{name}{level}.weight"]
            assert torch.equal(taken, state[f"{start}.conv.weight"])
            taken = backbone.weights[f"fpn_{name}{level}.norm.running_var"]
            assert torch.equal(taken, state[f"{start}.bn.running_var"])
    assert torch.equal(backbone.head["box_head.conv1.norm.weight"], state["head.bn1.weight"])
    assert torch.equal(backbone.head["box_head.fc1.bias"], state["head.fc1.bias"])
    maps = [f"res{i}" for i in range(first, 6)]
    assert backbone.architecture["MODEL.FPN.IN_FEATURES"] == maps
    assert backbone.architecture["MODEL.FPN.OUT_CHANNELS"] == 8
    assert backbone.settings["MODEL.FPN.NORM"] == "BN"


def test_an_unknown_project_is_taken_where_it_is_clear(networks):
    one = {"weights": {"net": {**body(networks["online"], "my.trunk."), **linear("my.head")}}}
    backbone = extract_backbone(one)
    check_equal(backbone, networks["online"])
    assert backbone.settings == {"MODEL.RESNETS.DEPTH": 18}
    assert backbone.unknown_settings == list(IMAGENET)
    two = {**body(networks["online"], "a."), **indexed(networks["momentum"], "b.")}
    with pytest.raises(CheckpointError, match="holds 2 networks, .* 'a.', 'b.': .*--prefix"):
        extract_backbone(two)
    check_equal(extract_backbone(two, prefix="b."), networks["momentum"])
    with pytest.raises(CheckpointError, match=r"no ResNet at c.: it holds a.\* \(120\), b"):
        extract_backbone(two, prefix="c.")


@pytest.mark.parametrize("prefix", ["encoder.", "backbone.", "f."])
def test_a_common_prefix_alone_says_nothing_of_the_pixels(networks, prefix):
    backbone = extract_backbone({"state_dict": body(networks["online"], prefix)})
    assert backbone.settings == {"MODEL.RESNETS.DEPTH": 18}


def test_what_a_user_states_overrides_the_family(networks):
    stated = {"INPUT.FORMAT": "BGR", "MODEL.PIXEL_STD": [1.0, 1.0, 1.0]}
    backbone = extract_backbone(checkpoint_of(CASES["moco v2"], networks), stated=stated)
    assert backbone.settings == {**IMAGENET, **stated, "MODEL.RESNETS.DEPTH": 18}


@pytest.mark.parametrize("text, expected", [
    ("data_preprocessor = dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], "
     "bgr_to_rgb=False)\nmodel = dict(backbone=dict(style='caffe'))",
     {"INPUT.FORMAT": "BGR", "MODEL.PIXEL_MEAN": [103.53, 116.28, 123.675],
      "MODEL.PIXEL_STD": [1.0, 1.0, 1.0], "MODEL.RESNETS.STRIDE_IN_1X1": True}),
    ("img_norm_cfg = dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])", {}),
    ("a = dict(mean=[1, 2, 3]); b = dict(mean=[4, 5, 6]); style='pytorch'", {}),
    (None, {}),
])  # fmt: skip
def test_the_config_of_openmmlab_is_read(networks, text, expected):
    checkpoint = checkpoint_of(CASES["mmdetection"], networks)
    checkpoint["meta"] = {"config": text}
    settings = extract_backbone(checkpoint).settings
    assert settings == {**IMAGENET, **expected, "MODEL.RESNETS.DEPTH": 18}


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32_with_the_same_values(networks, half):
    state = networks["online"].state_dict()
    halves = {k: x.to(half) if x.is_floating_point() else x for k, x in state.items()}
    taken = extract_backbone(halves).weights["res3.1.conv2.weight"]
    assert taken.dtype == torch.float32
    assert torch.equal(taken, halves["layer2.1.conv2.weight"].float())
