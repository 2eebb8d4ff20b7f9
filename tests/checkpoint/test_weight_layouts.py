"""Other projects' checkpoints: recognised, and the right encoder taken bit by bit."""

import argparse

import pytest
import torch
from weight_files import (
    body,
    detectron2_tensors,
    indexed,
    linear,
    mlp,
    network,
    run,
    simclr_v2,
    soco_fpn,
    wrapped,
)

from dense_ssl.checkpoint.formats import LAYOUTS, CheckpointError, extract_backbone, read_checkpoint

RGB_IMAGENET = {
    "INPUT.FORMAT": "RGB",
    "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
    "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.RESNETS.NORM": "BN",
}
UNIT = {**RGB_IMAGENET, "MODEL.PIXEL_MEAN": [0, 0, 0], "MODEL.PIXEL_STD": [255, 255, 255]}
SWAV = {**RGB_IMAGENET, "MODEL.PIXEL_STD": [58.14, 57.12, 57.375]}
NO_PIXELS = {k: x for k, x in RGB_IMAGENET.items() if "PIXEL" not in k}


@pytest.fixture(scope="module")
def online():
    return network("resnet18", 1)


@pytest.fixture(scope="module")
def momentum():
    return network("resnet18", 2)


QUEUE = {"queue": torch.rand(3, 4), "queue_ptr": torch.zeros(1, dtype=torch.int64)}
QUEUE2 = {**QUEUE, "queue2": torch.rand(3, 4), "queue2_ptr": torch.zeros(1, dtype=torch.int64)}


def moco_v1(a, b):
    heads = {**linear("encoder_q.fc"), **linear("encoder_k.fc")}
    state = {**body(a, "encoder_q."), **body(b, "encoder_k."), **heads, **QUEUE}
    return run("state_dict", wrapped(state), arch="resnet18")


def moco_v2(a, b):
    heads = {**mlp("encoder_q.fc", 0, 2), **mlp("encoder_k.fc", 0, 2)}
    state = {**body(b, "encoder_k."), **body(a, "encoder_q."), **heads, **QUEUE}
    return {"epoch": 800, "arch": "resnet18", "state_dict": wrapped(state)}


def moco_v3(a, b):
    heads = {**mlp("base_encoder.fc", 0, 1, 3), **mlp("predictor", 0, 1, 3)}
    state = {**body(a, "base_encoder."), **body(b, "momentum_encoder."), **heads}
    return run("state_dict", wrapped(state), arch="resnet18", scaler={"scale": 65536.0})


def detco(a, b):
    heads = mlp("encoder_q.global_mlps.0.mlp", 0, 2)
    # the stages once more, under the list that holds them
    again = {f"encoder_q.layers.0.{k}": x for k, x in a.layer1.state_dict().items()}
    state = {**body(a, "encoder_q."), **again, **body(b, "encoder_k."), **heads, **QUEUE}
    return run("state_dict", wrapped(state))


def densecl(a, b):
    heads = {**mlp("encoder_q.1.mlp", 0, 2), **mlp("encoder_q.1.mlp2", 0, 2)}
    state = {**body(a, "encoder_q.0."), **body(b, "encoder_k.0."), **heads, **QUEUE2}
    state.update(body(a, "backbone."))
    return {"meta": {"epoch": 200}, "state_dict": state, "optimizer": {}}


def openselfsup_moco(a, b):
    state = {**body(a, "encoder_q.0."), **body(b, "encoder_k.0."), **QUEUE, **body(a, "backbone.")}
    return {"meta": {}, "state_dict": state}


def openselfsup_byol(a, b):
    state = {**body(a, "online_net.0."), **body(b, "target_net.0."), **mlp("head.predictor", 0)}
    return {"meta": {}, "state_dict": {**body(a, "backbone."), **state}}


def pixpro(a, b):
    heads = {**linear("projector.linear1"), **linear("value_transform"), **linear("projector_k.l")}
    state = {**body(a, "encoder."), **body(b, "encoder_k."), **heads}
    options = argparse.Namespace(lr=1.0, arch="resnet18")
    return run("model", wrapped(state), opt=options, scheduler={"T": 3})


def pixpro_without_transform(a, b):
    heads = {**linear("projector.linear1"), **linear("projector_k.linear1")}
    return run("model", wrapped({**body(a, "encoder."), **body(b, "encoder_k."), **heads}))


def soco(a, b):
    heads = {**linear("projector.linear1"), **linear("predictor.linear1")}
    state = {**body(a, "encoder."), **body(b, "encoder_k."), **heads, **QUEUE}
    return run("model", wrapped(state), opt=argparse.Namespace())


def scrl(a, b):
    nets = {
        key: {**indexed(x, "encoder."), **linear("projector.fc")}
        for key, x in (("online_network_state_dict", a), ("target_network_state_dict", b))
    }
    return {"tag": "200", "epoch": 200, "max_eval_score": 70.1, **nets,
            "predictor_state_dict": linear("fc"), "optimizer_state_dict": {}}  # fmt: skip


def sthalles_byol(a, b):
    return {"online_network_state_dict": {**indexed(a, "encoder."), **mlp("projetion.net", 0)},
            "encoder_state_dict": indexed(a),
            "target_network_state_dict": indexed(b, "encoder.")}  # fmt: skip


def byol_pytorch_ddp(a, b):
    state = {**indexed(a, "online_network.encoder."), **indexed(b, "target_network.encoder.")}
    heads = {**linear("online_network.projetion.l1"), **linear("predictor.predictor.l1")}
    return run("model", wrapped({**state, **heads}), config={"stage": "train"}, steps=3, amp={})


def byol_pytorch(a, b):
    heads = {**mlp("online_encoder.projector", 0, 1, 3), **mlp("online_predictor", 0)}
    nets = {**body(a, "net."), **body(a, "online_encoder.net."), **body(b, "target_encoder.net.")}
    return {**nets, **linear("net.fc"), **heads}


def byol_pytorch_in_lightning(a, b):
    state = {f"learner.{k}": x for k, x in byol_pytorch(a, b).items()}
    return {"state_dict": state, "pytorch-lightning_version": "1.9.0", "hyper_parameters": {}}


def dino(a, b):
    head = mlp("head.mlp", 0, 2)
    return run("student", wrapped({**body(a, "backbone."), **head}),
               teacher=wrapped({**body(b, "backbone."), **head}),
               args=argparse.Namespace(arch="resnet18"), dino_loss={"center": torch.rand(1, 3)},
               fp16_scaler={})  # fmt: skip


def swav(a, b):
    heads = {**mlp("projection_head", 0, 1, 3), "prototypes.weight": torch.rand(4, 3)}
    return wrapped({**body(a), **heads})


def swav_run(a, b):
    return run("state_dict", swav(a, b), amp={})


def sthalles_simclr(a, b):
    state = {**body(a, "backbone."), **mlp("backbone.fc", 0, 2)}
    return run("state_dict", state, arch="resnet18")


def spijkervet_simclr(a, b):
    heads = {f"projector.{i}.weight": torch.rand(3, 3) for i in (0, 2)}
    return {**body(a, "encoder."), **heads}


def leftthomas_simclr(a, b):
    return {**indexed(a, "f."), "g.0.weight": torch.rand(2, 2), **linear("g.2")}


def simsiam(a, b):
    state = {**body(a, "encoder."), **mlp("encoder.fc", 0, 3, 6), **mlp("predictor", 0, 3)}
    return run("state_dict", wrapped(state), arch="resnet18")


def bolts(a, b):
    state = {**body(a, "encoder."), **mlp("projection.model", 0, 3)}
    return {"state_dict": state, "pytorch-lightning_version": "1.9.0"}


def solo_learn(a, b):
    heads = {**linear("classifier"), **mlp("projector", 0), **mlp("predictor", 0)}
    state = {**body(a, "backbone."), **body(b, "momentum_backbone."), **heads}
    return {"state_dict": state, "pytorch-lightning_version": "1.9.0", "epoch": 3}


def solo_learn_old(a, b):
    state = {**body(a, "encoder."), **body(b, "momentum_encoder."), **linear("classifier")}
    return {"state_dict": state, "pytorch-lightning_version": "1.4.0"}


def lightly(a, b):
    heads = {**mlp("projection_head.layers", 0, 2), **mlp("projection_head_momentum.layers", 0)}
    state = {**indexed(a, "backbone."), **indexed(b, "backbone_momentum."), **heads}
    bank = {"criterion.memory_bank.bank": torch.rand(3, 4)}
    return {"state_dict": {**state, **bank}, "pytorch-lightning_version": "2.0.0"}


def lightly_named(a, b):
    state = {**body(a, "backbone."), **body(b, "teacher_backbone."), **mlp("projection_head.l", 0)}
    return {"state_dict": state, "pytorch-lightning_version": "2.0.0"}


def lightly_dino(a, b):
    state = {**indexed(a, "student_backbone."), **indexed(b, "teacher_backbone.")}
    return {"state_dict": {**state, **mlp("student_head.layers", 0)}}


def lightly_dino_benchmark(a, b):
    state = {**body(b, "backbone."), **body(a, "student_backbone."), **mlp("projection_head.l", 0)}
    return {"state_dict": state}


def lightly_moco_benchmark(a, b):
    state = {**body(b, "backbone."), **body(a, "query_backbone."), **mlp("projection_head.l", 0)}
    return {"state_dict": state}


def mmselfsup(a, b):
    state = {**body(a, "backbone."), **mlp("neck.mlp", 0, 2), **body(b, "target_net.module.0."),
             "target_net.steps": torch.tensor(3)}  # fmt: skip
    return {"meta": {"epoch": 200, "experiment_name": "byol"}, "state_dict": state}


def mmdetection(a, b):
    neck = {"neck.lateral_convs.0.conv.weight": torch.rand(4, 4, 1, 1)}
    state = {**body(a, "backbone."), **neck, **linear("bbox_head.fc_cls")}
    return {"meta": {"CLASSES": ("a", "b")}, "state_dict": state, "optimizer": {}}


def barlow_twins(a, b):
    state = {**body(a, "backbone."), **mlp("projector", 0, 1), **linear("bn")}
    return run("model", wrapped(state))


def vissl(a, b):
    trunk = {**body(a, "_feature_blocks.")}
    model = {"trunk": trunk, "heads": mlp("0.clf", 0)}
    return {"classy_state_dict": {"base_model": {"model": model}}, "iteration": 9, "type": "x"}


def openselfsup_extracted(a, b):
    return {"state_dict": body(a), "author": "OpenSelfSup"}


def imagenet_example(a, b):
    return run("state_dict", wrapped(a.state_dict()), arch="resnet18", best_acc1=70.0)


def timm_training(a, b):
    return run("state_dict", a.state_dict(), state_dict_ema=b.state_dict(), version=2,
               args=argparse.Namespace(model="resnet18"))  # fmt: skip


def torchvision_reference(a, b):
    return run("model", a.state_dict(), args=argparse.Namespace(), lr_scheduler={"gamma": 0.1})


def simclr_v1(a, b):
    return {"state_dict": a.state_dict()}


def torchvision(a, b):
    return a.state_dict()


# builder, layout, encoder that is taken, settings, start of what must be left out
CASES = [
    (moco_v1, "moco", "online", RGB_IMAGENET, "encoder_k."),
    (moco_v2, "moco", "online", RGB_IMAGENET, "queue"),
    (moco_v3, "moco-v3", "online", RGB_IMAGENET, "predictor."),
    (detco, "detco", "online", RGB_IMAGENET, "encoder_q.global_mlps."),
    (densecl, "densecl", "online", RGB_IMAGENET, "queue2"),
    (openselfsup_moco, "openselfsup-moco", "online", RGB_IMAGENET, "backbone."),
    (openselfsup_byol, "openselfsup-byol", "online", RGB_IMAGENET, "target_net."),
    (pixpro, "pixpro", "online", RGB_IMAGENET, "value_transform."),
    (pixpro_without_transform, "pixpro", "online", RGB_IMAGENET, "projector_k."),
    (soco, "soco", "online", RGB_IMAGENET, "predictor."),
    (scrl, "scrl", "online", RGB_IMAGENET, "projector."),
    (sthalles_byol, "sthalles-byol", "online", UNIT, "projetion."),
    (byol_pytorch_ddp, "byol-pytorch-ddp", "online", RGB_IMAGENET, "predictor."),
    (byol_pytorch, "byol-pytorch", "online", RGB_IMAGENET, "online_predictor."),
    (byol_pytorch_in_lightning, "byol-pytorch", "online", RGB_IMAGENET, "learner.net."),
    (dino, "dino", "momentum", RGB_IMAGENET, "head."),
    (swav, "swav", "online", SWAV, "prototypes."),
    (swav_run, "swav", "online", SWAV, "projection_head."),
    (sthalles_simclr, "sthalles-simclr", "online", UNIT, "backbone.fc."),
    (spijkervet_simclr, "spijkervet-simclr", "online", NO_PIXELS, "projector."),
    (leftthomas_simclr, "leftthomas-simclr", "online", NO_PIXELS, "g."),
    (simsiam, "simsiam", "online", RGB_IMAGENET, "encoder.fc."),
    (bolts, "bolts", "online", NO_PIXELS, "projection."),
    (solo_learn, "solo-learn", "online", RGB_IMAGENET, "classifier."),
    (solo_learn_old, "solo-learn", "online", RGB_IMAGENET, "momentum_encoder."),
    (lightly, "lightly", "online", RGB_IMAGENET, "criterion."),
    (lightly_named, "lightly", "online", RGB_IMAGENET, "teacher_backbone."),
    (lightly_dino, "lightly-dino", "momentum", RGB_IMAGENET, "student_head."),
    (lightly_dino_benchmark, "lightly-dino", "momentum", RGB_IMAGENET, "student_backbone."),
    (lightly_moco_benchmark, "lightly-query", "online", RGB_IMAGENET, "backbone."),
    (mmselfsup, "openmmlab", "online", RGB_IMAGENET, "target_net."),
    (mmdetection, "openmmlab", "online", RGB_IMAGENET, "bbox_head."),
    (barlow_twins, "barlow-twins", "online", RGB_IMAGENET, "projector."),
    (vissl, "vissl", "online", RGB_IMAGENET, None),
    (openselfsup_extracted, "openselfsup", "online", RGB_IMAGENET, None),
    (imagenet_example, "training-run", "online", RGB_IMAGENET, "fc."),
    (timm_training, "training-run", "online", RGB_IMAGENET, "fc."),
    (torchvision_reference, "training-run", "online", RGB_IMAGENET, "fc."),
    (simclr_v1, "state-dict", "online", NO_PIXELS, "fc."),
    (torchvision, "torchvision", "online", RGB_IMAGENET, "fc."),
]


def check_equal(backbone, model):
    expected = detectron2_tensors(model)
    assert set(backbone.weights) == set(expected)
    for name, x in expected.items():
        assert torch.equal(backbone.weights[name], x), name
        assert backbone.weights[name].dtype == x.dtype


@pytest.mark.parametrize("build, layout, encoder, settings, left", CASES,
                         ids=[x[0].__name__ for x in CASES])  # fmt: skip
def test_it_is_recognised_and_taken_bit_by_bit(
    online, momentum, build, layout, encoder, settings, left
):
    checkpoint = build(online, momentum)
    backbone = extract_backbone(checkpoint)
    assert backbone.recognised.layout.name == layout
    assert backbone.recognised.encoder == encoder
    check_equal(backbone, online if encoder == "online" else momentum)
    assert backbone.settings == {**settings, "MODEL.RESNETS.DEPTH": 18}
    assert bool(backbone.left_out) == (left is not None)
    assert left is None or any(x.startswith(left) for x in backbone.left_out)
    assert backbone.architecture == {
        "MODEL.RESNETS.DEPTH": 18,
        "MODEL.RESNETS.STEM_OUT_CHANNELS": 64,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
    }


WITH_AVERAGE = [moco_v2, moco_v3, densecl, pixpro, soco, scrl, byol_pytorch_ddp, byol_pytorch, dino,
                solo_learn, lightly, lightly_named, lightly_dino, lightly_dino_benchmark,
                lightly_moco_benchmark, mmselfsup, timm_training]  # fmt: skip


@pytest.mark.parametrize("build", WITH_AVERAGE)
def test_either_encoder_can_be_chosen(online, momentum, build):
    checkpoint = build(online, momentum)
    for name, model in (("online", online), ("momentum", momentum)):
        backbone = extract_backbone(checkpoint, encoder=name)
        assert backbone.recognised.encoder == name and len(backbone.recognised.others) == 1
        check_equal(backbone, model)


def test_an_average_that_is_not_there_is_an_error(online, momentum):
    with pytest.raises(CheckpointError, match="holds no momentum encoder, only online"):
        extract_backbone(swav(online, momentum), encoder="momentum")


def test_every_layout_is_tested():
    tested = {layout for _, layout, _, _, _ in CASES}
    assert {x.name for x in LAYOUTS} - tested == {
        "densessl-pretraining", "detectron2", "simclr-v1", "simclr-v2",
    }  # fmt: skip


@pytest.mark.parametrize("build", [pixpro, dino])
def test_saved_and_read_again_it_is_the_same(online, momentum, build, tmp_path):
    path = tmp_path / "checkpoint.pth.tar"
    torch.save(build(online, momentum), path)
    backbone = extract_backbone(read_checkpoint(path))
    check_equal(backbone, momentum if build is dino else online)


def test_bottlenecks_in_every_naming():
    model = network("resnet50", 3)
    for checkpoint, layout, settings in (
        (model.state_dict(), "torchvision", RGB_IMAGENET),
        (lightly(model, model), "lightly", RGB_IMAGENET),
        ({"resnet": simclr_v2(model), "head": mlp("layers", 0)}, "simclr-v2", UNIT),
    ):
        backbone = extract_backbone(checkpoint)
        assert backbone.recognised.layout.name == layout
        check_equal(backbone, model)
        assert backbone.settings == {**settings, "MODEL.RESNETS.DEPTH": 50}
        assert backbone.architecture == {
            "MODEL.RESNETS.DEPTH": 50, "MODEL.RESNETS.STEM_OUT_CHANNELS": 64,
            "MODEL.RESNETS.RES2_OUT_CHANNELS": 256, "MODEL.RESNETS.NUM_GROUPS": 1,
            "MODEL.RESNETS.WIDTH_PER_GROUP": 64,
        }  # fmt: skip


def test_fpn_and_box_head_of_soco(online, momentum):
    checkpoint = soco(online, momentum)
    state = soco_fpn([64, 128, 256, 512])
    checkpoint["model"].update(wrapped({**state, **soco_fpn([64, 128, 256, 512], "x.")}))
    backbone = extract_backbone(checkpoint)
    for level, i in ((2, 0), (5, 3)):
        for kind, name in (("lateral", "lateral"), ("fpn", "output")):
            taken = backbone.weights[f"fpn_{name}{level}.weight"]
            assert torch.equal(taken, state[f"neck.{kind}_convs.{i}.conv.weight"])
            taken = backbone.weights[f"fpn_{name}{level}.norm.running_var"]
            assert torch.equal(taken, state[f"neck.{kind}_convs.{i}.bn.running_var"])
    assert torch.equal(backbone.head["box_head.conv1.norm.weight"], state["head.bn1.weight"])
    assert torch.equal(backbone.head["box_head.fc1.bias"], state["head.fc1.bias"])
    assert backbone.architecture["MODEL.FPN.IN_FEATURES"] == ["res2", "res3", "res4", "res5"]
    assert backbone.architecture["MODEL.FPN.OUT_CHANNELS"] == 8
    assert backbone.settings["MODEL.FPN.NORM"] == "BN"
    # an FPN that starts a stage later has the same indices for other stages
    checkpoint = soco(online, momentum)
    checkpoint["model"].update(wrapped(soco_fpn([128, 256, 512])))
    backbone = extract_backbone(checkpoint)
    assert backbone.architecture["MODEL.FPN.IN_FEATURES"] == ["res3", "res4", "res5"]


def test_a_layout_can_be_forced_by_name(online, momentum):
    checkpoint = simclr_v1(online, momentum)
    backbone = extract_backbone(checkpoint, layout="simclr-v1")
    assert backbone.settings == {**UNIT, "MODEL.RESNETS.DEPTH": 18}
    with pytest.raises(CheckpointError, match="not laid out as --layout moco-v3 says: it holds"):
        extract_backbone(checkpoint, layout="moco-v3")
    with pytest.raises(CheckpointError, match="no layout 'moko'. Known: .*moco"):
        extract_backbone(checkpoint, layout="moko")


def test_an_unknown_project_is_taken_where_it_is_clear(online, momentum):
    one = {"weights": {"net": {**body(online, "my.trunk."), **linear("my.head")}}}
    backbone = extract_backbone(one)
    check_equal(backbone, online)
    assert backbone.settings == {"MODEL.RESNETS.DEPTH": 18}
    assert backbone.unknown_settings == list(RGB_IMAGENET)
    two = {**body(online, "a."), **indexed(momentum, "b.")}
    with pytest.raises(CheckpointError, match="holds 2 networks, behind 'a.', 'b.'.*--prefix"):
        extract_backbone(two)
    check_equal(extract_backbone(two, prefix="b."), momentum)
    with pytest.raises(CheckpointError, match="no ResNet behind c.: it holds a.conv1"):
        extract_backbone(two, prefix="c.")


def test_what_a_user_states_overrides_the_layout(online, momentum):
    stated = {"INPUT.FORMAT": "BGR", "MODEL.PIXEL_STD": [1.0, 1.0, 1.0]}
    backbone = extract_backbone(moco_v2(online, momentum), stated=stated)
    expected = {**RGB_IMAGENET, **stated, "MODEL.RESNETS.DEPTH": 18}
    assert backbone.settings == expected


@pytest.mark.parametrize("text, expected", [
    ("data_preprocessor = dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], "
     "bgr_to_rgb=False)\nmodel = dict(backbone=dict(style='caffe'))",
     {"INPUT.FORMAT": "BGR", "MODEL.PIXEL_MEAN": [103.53, 116.28, 123.675],
      "MODEL.PIXEL_STD": [1.0, 1.0, 1.0], "MODEL.RESNETS.STRIDE_IN_1X1": True}),
    ("img_norm_cfg = dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])", {}),
    ("a = dict(mean=[1, 2, 3]); b = dict(mean=[4, 5, 6]); style='pytorch'", {}),
    (None, {}),
])  # fmt: skip
def test_the_config_of_openmmlab_is_read(online, momentum, text, expected):
    checkpoint = mmdetection(online, momentum)
    checkpoint["meta"]["config"] = text
    settings = extract_backbone(checkpoint).settings
    assert settings == {**RGB_IMAGENET, **expected, "MODEL.RESNETS.DEPTH": 18}


def test_half_precision_becomes_float32_with_the_same_values(online):
    for half in (torch.float16, torch.bfloat16):
        halves = {k: x.to(half) if x.is_floating_point() else x
                  for k, x in online.state_dict().items()}  # fmt: skip
        taken = extract_backbone(halves).weights["res3.1.conv2.weight"]
        assert taken.dtype == torch.float32
        assert torch.equal(taken, halves["layer2.1.conv2.weight"].float())
