"""Levels of a pre-trained pyramid that differ in scale, in a detector that shares its heads."""

import logging

import pytest
import torch
from detectron2.modeling import build_model
from helpers import build_trainer, recorded_log, tiny_config

from dense_ssl.checkpoint import Checkpointer, backbone_settings, export_backbone
from dense_ssl.checkpoint.pyramid import equalise_levels, level_gains
from dense_ssl.engine import Trainer

LEVELS = ("res3", "res4", "res5")
FPN = ["MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone", "MODEL.RESNETS.OUT_FEATURES", LEVELS,
       "MODEL.FPN.IN_FEATURES", LEVELS, "MODEL.FPN.NORM", "BN",
       "MODEL.FPN.OUT_CHANNELS", 8]  # fmt: skip
GAINS = {3: 2.0, 4: 0.5, 5: 1.0}


def with_gains(model, gains):
    """Give the norms behind the outputs of the pyramid uneven weights of these mean sizes."""
    for level, gain in gains.items():
        norm = getattr(model.backbone, f"fpn_output{level}").norm
        with torch.no_grad():
            norm.weight.copy_(torch.linspace(-1.5, 1.5, 8).abs())
            norm.weight.mul_(gain / norm.weight.mean())
            norm.bias.copy_(torch.linspace(-1, 1, 8) * gain)
    return model


def pretraining(tmp_path):
    cfg = tiny_config("BYOL", "unused", tmp_path, *FPN, "MODEL.BYOL.IN_FEATURE", "p3",
                      "INPUT.VIEWS.SIZE", (64,))  # fmt: skip
    return cfg, build_model(cfg)


def detector_config(tmp_path, *options):
    features = [x.replace("res", "p") for x in LEVELS]
    return tiny_config(
        "BYOL", "unused", tmp_path / "detector", *FPN,
        "MODEL.META_ARCHITECTURE", "GeneralizedRCNN",
        "MODEL.ANCHOR_GENERATOR.SIZES", [[16], [32], [64]],
        "MODEL.RPN.IN_FEATURES", features, "MODEL.ROI_HEADS.IN_FEATURES", features,
        "MODEL.ROI_HEADS.NAME", "StandardROIHeads", "MODEL.ROI_BOX_HEAD.NAME", "FastRCNNConvFCHead",
        "MODEL.ROI_BOX_HEAD.NUM_FC", 1, "MODEL.ROI_BOX_HEAD.FC_DIM", 8, *options,
    )  # fmt: skip


def load(cfg, path):
    model = build_model(cfg)
    with recorded_log("dense_ssl.checkpoint.pyramid", logging.INFO) as log:
        Trainer.build_checkpointer(cfg, model).load(str(path))
    return model, log


@pytest.fixture(params=["backbone.pkl", "model.pth"])
def weights(request, tmp_path):
    """A function that writes a pre-training with given gains: its model and the file."""

    def write(gains):
        cfg, model = pretraining(tmp_path)
        with_gains(model, gains)
        if request.param == "backbone.pkl":
            export_backbone(model, tmp_path / request.param, backbone_settings(cfg))
        else:
            settings = backbone_settings(cfg)
            Checkpointer(model, str(tmp_path), settings=settings).save("model")
        return model, tmp_path / request.param

    return write


def test_levels_get_one_scale_and_keep_their_angles(weights, tmp_path):
    model, path = weights(GAINS)
    detector, log = load(detector_config(tmp_path), path)
    assert len(log) == 1 and "2.00 (p3), 0.50 (p4), 1.00 (p5)" in log[0]
    assert list(level_gains(detector.state_dict()).values()) == pytest.approx([1, 1, 1])
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before, after = (x.eval().backbone(images) for x in (model, detector))
    for level, gain in GAINS.items():
        expected = before[f"p{level}"]
        rounding = 1e-5 * expected.abs().max().item()
        assert torch.allclose(after[f"p{level}"] * gain, expected, rtol=0, atol=rounding)
    # nothing but the norms of the outputs has changed
    for name, value in detector.backbone.state_dict().items():
        if not name.startswith("fpn_output") or not name.endswith(("norm.weight", "norm.bias")):
            assert torch.equal(value, model.backbone.state_dict()[name])


@pytest.mark.parametrize("gains, options", [
    ({3: 1.1, 4: 1.0, 5: 1.0}, ()), (GAINS, ("MODEL.FPN.MAX_GAIN_RATIO", 0.0)),
    (GAINS, ("MODEL.FPN.MAX_GAIN_RATIO", 4.1)), ({3: 2.0, 4: 2.0, 5: 2.0}, ()),
])  # fmt: skip
def test_levels_that_are_alike_or_wanted_so_stay(weights, tmp_path, gains, options):
    model, path = weights(gains)
    detector, log = load(detector_config(tmp_path, *options), path)
    assert not log
    found = model.backbone.state_dict()
    assert all(torch.equal(x, found[k]) for k, x in detector.backbone.state_dict().items())


def test_a_detector_and_a_pretraining_are_loaded_as_they_are(weights, tmp_path):
    _, path = weights(GAINS)
    cfg, again = pretraining(tmp_path / "again")
    Trainer.build_checkpointer(cfg, again).load(str(path))
    assert list(level_gains(again.backbone.state_dict()).values()) == pytest.approx([2, 0.5, 1])
    cfg = detector_config(tmp_path)
    detector = with_gains(build_model(cfg), GAINS)
    (tmp_path / "detector").mkdir()
    Checkpointer(detector, str(tmp_path / "detector"), settings=backbone_settings(cfg)).save("mine")
    loaded, log = load(cfg, tmp_path / "detector" / "mine.pth")
    assert not log
    assert list(level_gains(loaded.state_dict()).values()) == pytest.approx([2, 0.5, 1])


def test_a_classifier_of_boxes_keeps_them(weights, tmp_path):
    _, path = weights(GAINS)
    features = ("MODEL.ROI_HEADS.IN_FEATURES", ["p3", "p4"])
    cfg = detector_config(tmp_path, "MODEL.META_ARCHITECTURE", "RoIClassifier", *features)
    model, log = load(cfg, path)
    assert not log
    assert list(level_gains(model.state_dict()).values()) == pytest.approx([2, 0.5, 1])


@pytest.mark.parametrize("state", [
    {}, {"backbone.fpn_output3.weight": torch.ones(2)},
    {f"fpn_output{i}.norm.{x}": torch.zeros(3) for i in (3, 4) for x in ("weight", "bias")},
])  # fmt: skip
def test_pyramids_without_norms_or_with_dead_ones_stay(state):
    before = {k: x.clone() for k, x in state.items()}
    assert equalise_levels(state, 1.2) == {}
    assert all(torch.equal(x, before[k]) for k, x in state.items())


def test_training_goes_on_from_the_scaled_weights(weights, tmp_path, image_folder):
    _, path = weights(GAINS)
    cfg = tiny_config("BYOL", image_folder, tmp_path / "warm", *FPN, "MODEL.BYOL.IN_FEATURE", "p3",
                      "MODEL.WEIGHTS", str(path))  # fmt: skip
    trainer = build_trainer(cfg)
    trainer.resume_or_load(resume=False)  # pre-training keeps them
    gains = level_gains(trainer.model.backbone.state_dict()).values()
    assert list(gains) == pytest.approx([2, 0.5, 1])
