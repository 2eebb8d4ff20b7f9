"""Hand-over of every kind of backbone, and timm's own weights through MODEL.WEIGHTS."""

import logging
import pickle

import pytest
import timm
import torch
from backbone_kinds import KINDS, options
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model
from helpers import CONFIGS, base_config, recorded_log, tiny_config
from safetensors.torch import save_file

import dense_ssl.modeling  # noqa: F401 (registration only)
from dense_ssl.checkpoint import Checkpointer, backbone_settings
from dense_ssl.checkpoint.handover import check_settings, strip_backbone

MASK = "COCO-InstanceSegmentation/mask_rcnn_R_18_FPN.yaml"
RETINANET = "COCO-Detection/retinanet_R_18_FPN.yaml"
NARROW = [
    "MODEL.DEVICE", "cpu", "MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.RESNETS.STEM_OUT_CHANNELS", 8,
    "MODEL.RESNETS.NORM", "BN", "MODEL.ROI_BOX_HEAD.FC_DIM", 8, "MODEL.ROI_MASK_HEAD.CONV_DIM", 8,
]  # fmt: skip
PLAIN = ["MODEL.RPN.IN_FEATURES", ["res4"], "MODEL.ROI_HEADS.IN_FEATURES", ["res4"],
         "MODEL.ANCHOR_GENERATOR.SIZES", [[16, 32]]]  # fmt: skip
# kinds, file, pyramid of pre-training, config and pyramid of the detector
SOME = [x for x in ("mobilenet", "timm_swin", "vit") if x in KINDS]
ROUTES = {
    "network to fpn": (KINDS, "backbone.pkl", "", MASK, "fpn"),
    "network to retinanet": (SOME, "model_final.pth", "", RETINANET, "retinanet"),
    "network to single map": (SOME, "model_final.pth", "", MASK, ""),
    "fpn to fpn": (SOME, "backbone.pkl", "fpn", MASK, "fpn"),
    "retinanet to retinanet": (SOME, "model_final.pth", "retinanet", RETINANET, "retinanet"),
}


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for tensor in model.state_dict().values():
        if tensor.dtype.is_floating_point:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + seed)
    return model


def pretrainer(folder, kind, pyramid="", *more, seed=1):
    last = "last_feat" if kind == "vit" else "res5"
    cfg = tiny_config(
        "BYOL", "unused", folder, *options(kind, pyramid), "MODEL.BYOL.IN_FEATURE", last, *more
    )
    model = randomise(build_model(cfg), seed)
    return model, Checkpointer(model, str(folder), settings=backbone_settings(cfg))


def detector_config(kind, config=MASK, pyramid="fpn", *more):
    cfg = base_config()
    cfg.merge_from_file(str(CONFIGS / "mini" / "finetune" / config))
    cfg.merge_from_list([*NARROW, *options(kind, pyramid), *([] if pyramid else PLAIN)])
    if not pyramid and kind == "vit":
        cfg.MODEL.RPN.IN_FEATURES = cfg.MODEL.ROI_HEADS.IN_FEATURES = ["last_feat"]
    if not pyramid and "resne" in cfg.MODEL.BACKBONE.NAME:
        cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.merge_from_list(list(more))
    return cfg


def detector(*args, seed=100, check=True):
    cfg = detector_config(*args)
    model = randomise(build_model(cfg), seed)
    return model, Checkpointer(model, "", settings=backbone_settings(cfg), check=check)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A function: (kind, pyramid) -> (tensors of a finished pre-training, its folder)."""
    done = {}

    def build(kind, pyramid=""):
        if (kind, pyramid) not in done:
            folder = tmp_path_factory.mktemp(kind)
            model, saver = pretrainer(folder, kind, pyramid)
            saver.save("model_final")
            done[kind, pyramid] = (model.state_dict(), folder)
        return done[kind, pyramid]

    return build


@pytest.fixture
def log():
    with recorded_log("dense_ssl.checkpoint.checkpointer", logging.INFO) as records:
        yield records


def below(name):
    """A tensor's name without what pyramids put before it."""
    return name.replace("bottom_up.", "").replace("backbone.net.", "backbone.")


@pytest.mark.parametrize("kind, route", [(k, x) for x in ROUTES for k in ROUTES[x][0]])
def test_every_tensor_arrives_and_is_counted(pretrained, log, kind, route):
    _, file, pretrained_pyramid, config, pyramid = ROUTES[route]
    source, folder = pretrained(kind, pretrained_pyramid)
    tensors = {below(k): x for k, x in source.items()}
    model, checkpointer = detector(kind, config, pyramid)
    before = {k: x.clone() for k, x in model.state_dict().items()}
    checkpointer.load(str(folder / file))
    after = model.state_dict()
    goal = [x for x in after if x.startswith("backbone.")
              and not x.endswith("num_batches_tracked")]  # fmt: skip
    found = [x for x in goal if below(x) in tensors]
    for name in found:
        assert torch.equal(after[name], tensors[below(name)]), name
    for name in set(after) - set(found):
        assert torch.equal(after[name], before[name]), name
    absent = {x.split(".")[1] for x in goal if x not in found}
    if pretrained_pyramid == pyramid or not pyramid:
        assert not absent
    else:
        assert absent and all(x.startswith(("fpn_", "simfp_", "top_block")) for x in absent)
    path = str(folder / file)
    assert f"loaded {len(found)} of {len(goal)} backbone tensors from {path}" in log
    if kind in SOME and file == "backbone.pkl":  # stock detectron2 loads the same
        stock = randomise(build_model(detector_config(kind, config, pyramid)), 100)
        DetectionCheckpointer(stock).load(path)
        for (name, x), y in zip(after.items(), stock.state_dict().values()):
            assert torch.equal(x, y), name


@pytest.mark.parametrize("kind", SOME)
def test_a_backbone_fills_online_and_target_encoder(pretrained, tmp_path, kind):
    source, folder = pretrained(kind)
    model, checkpointer = pretrainer(tmp_path, kind, seed=50)
    checkpointer.load(str(folder / "backbone.pkl"))
    state = model.state_dict()
    for name, tensor in source.items():
        if name.startswith("backbone.") and not name.endswith("num_batches_tracked"):
            assert torch.equal(state[name], tensor) and torch.equal(state[f"target_{name}"], tensor)


OTHER_SWIN = ("embed_dim=8", "depths=(1,1,1,1)", "num_heads=(1,2,2,2)")
DIFFERENT = [
    ("mobilenet", "MODEL.TIMM.NAME", "mobilenetv2_050"),
    ("mobilenet", "MODEL.TIMM.NORM", "FrozenBN"),
    ("mobilenet", "MODEL.PIXEL_MEAN", [0.0, 0.0, 0.0]),
    ("mobilenet", "MODEL.PIXEL_STD", [1.0, 1.0, 1.0]),
    ("mobilenet", "INPUT.FORMAT", "BGR"),
    ("convnext", "MODEL.TIMM.OUT_NORM", ""),
    ("timm_swin", "MODEL.TIMM.ARGUMENTS", OTHER_SWIN),
    ("vit", "MODEL.VIT.WINDOW_BLOCKS", (0, 1)),
    ("deep_stem", "MODEL.RESNETS.STEM_TYPE", "basic"),
]


@pytest.mark.parametrize("kind, key, value", [x for x in DIFFERENT if x[0] in KINDS])
def test_other_settings_are_an_error_that_names_the_key(pretrained, kind, key, value):
    path = pretrained(kind)[1] / "backbone.pkl"
    saved = backbone_settings(detector_config(kind, MASK, ""))
    goal = backbone_settings(detector_config(kind, MASK, "fpn", key, value))
    with pytest.raises(ValueError, match=f"{key}: the weights have"):
        check_settings(saved, goal, path)
    with open(path, "rb") as file:
        assert pickle.load(file)["dense_ssl"]["settings"] == saved


def test_batch_norms_of_timm_are_all_the_same():
    config = detector_config("mobilenet", MASK, "fpn", "MODEL.TIMM.NORM", "naiveSyncBN")
    check_settings(backbone_settings(detector_config("mobilenet")), backbone_settings(config), "x")


@pytest.mark.parametrize("kind, other, named", [
    ("mobilenet", ("MODEL.TIMM.NAME", "mobilenetv2_050"),
     "MODEL.TIMM.NAME, MODEL.TIMM.ARGUMENTS or"),
    ("vit", ("MODEL.VIT.EMBED_DIM", 32), "MODEL.VIT.PATCH_SIZE, its widths or"),
])  # fmt: skip
def test_other_widths_name_the_keys_of_the_backbone(pretrained, kind, other, named):
    _, checkpointer = detector(kind, MASK, "fpn", *other)
    checkpointer.settings = backbone_settings(detector_config(kind))  # as if nothing differed
    with pytest.raises(ValueError, match=f"another shape than the model .*{named}"):
        checkpointer.load(str(pretrained(kind)[1] / "backbone.pkl"))


# ---- timm's own weights

NETWORKS = {"mobilenet": "mobilenetv2_035", "timm_resnet": "test_resnet"}
# of what timm's weights of them were trained on
PIXELS = {"mobilenet": (), "timm_resnet": ("MODEL.PIXEL_MEAN", [127.5] * 3,
                                           "MODEL.PIXEL_STD", [127.5] * 3)}  # fmt: skip


def write_timm(folder, kind, form):
    network = randomise(timm.create_model(NETWORKS[kind]), 7)
    state = network.state_dict()
    path = str(folder / f"timm.{form}")
    save_file(state, path) if form == "safetensors" else torch.save(state, path)
    return network, path


@pytest.mark.parametrize("kind, form", [("mobilenet", "pth"), ("timm_resnet", "safetensors")])
def test_weights_of_timm_fill_a_detector(tmp_path, log, kind, form):
    network, path = write_timm(tmp_path, kind, form)
    model, checkpointer = detector(kind, RETINANET, "retinanet", *PIXELS[kind])
    before = {k: x.clone() for k, x in model.head.state_dict().items()}
    checkpointer.load(path)
    body = model.backbone.bottom_up.body.eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = network.eval().forward_intermediates(images, intermediates_only=True)
        for a, b in zip(body(images), expected[-3:]):
            assert torch.equal(a, b)
    assert all(torch.equal(x, before[k]) for k, x in model.head.state_dict().items())
    goal = [x for x in model.backbone.state_dict() if "num_batches" not in x]
    found = [x for x in goal if "bottom_up" in x]
    assert f"loaded {len(found)} of {len(goal)} backbone tensors from {path}" in log


def test_weights_of_timm_start_pretraining(tmp_path):
    network, path = write_timm(tmp_path, "mobilenet", "pth")
    model, checkpointer = pretrainer(tmp_path, "mobilenet", seed=50)
    checkpointer.load(path)
    for encoder in (model.backbone, model.target_backbone):
        assert torch.equal(encoder.body.conv_stem.weight, network.conv_stem.weight)
        assert torch.equal(encoder.body.blocks[6][0].bn3.running_var,
                           network.blocks[6][0].bn3.running_var)  # fmt: skip


def test_weights_of_timm_know_their_images(tmp_path):
    _, path = write_timm(tmp_path, "mobilenet", "pth")
    model, checkpointer = detector("mobilenet")
    for key, value in (("INPUT.FORMAT", "BGR"), ("MODEL.PIXEL_MEAN", [127.5] * 3),
                       ("MODEL.PIXEL_STD", [1.0] * 3)):  # fmt: skip
        cfg = detector_config("mobilenet", MASK, "fpn", key, value)
        checkpointer.settings, checkpointer.check = backbone_settings(cfg), True
        with pytest.raises(ValueError, match=f"{key}: the weights have"):
            checkpointer.load(path)
        checkpointer.check = False
        checkpointer.load(path)
    assert checkpointer.loaded[0] > 0


def test_a_detectors_own_checkpoint_is_not_taken_for_timms(tmp_path):
    model, checkpointer = detector("mobilenet", seed=5)
    torch.save(model.state_dict(), tmp_path / "plain.pth")
    other, loader = detector("mobilenet", seed=6)
    loader.load(str(tmp_path / "plain.pth"))
    for (name, a), b in zip(model.state_dict().items(), other.state_dict().values()):
        assert torch.equal(a, b), name


def test_what_is_below_a_pyramid_loses_its_prefix():
    names = ("backbone.net.pos_embed", "backbone.bottom_up.body.x", "backbone.fpn_output2.x",
             "target_backbone.net.x", "backbone.bottom_up.n.num_batches_tracked")  # fmt: skip
    state = dict(zip(names, range(1, 6)))
    assert strip_backbone(state) == {"pos_embed": 1, "body.x": 2, "fpn_output2.x": 3}
