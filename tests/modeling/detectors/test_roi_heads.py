"""The C4 head with an extra normalisation layer."""

import pickle

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone, build_model
from detectron2.modeling.roi_heads import Res5ROIHeads
from detectron2.structures import Boxes, ImageList, Instances
from helpers import CONFIGS, base_config

from dense_ssl.modeling.detectors.roi_heads import Res5ROIHeadsExtraNorm

# detectron2 fixes the width of ResNet-18 and 34
NARROW = ["RES2_OUT_CHANNELS", 16, "WIDTH_PER_GROUP", 4, "STEM_OUT_CHANNELS", 8]
WIDTHS = {18: ["RES2_OUT_CHANNELS", 64], 34: ["RES2_OUT_CHANNELS", 64], 50: NARROW}


def c4_config(depth, norm="BN"):
    cfg = base_config()
    cfg.merge_from_file(str(CONFIGS / "Base-RCNN-C4.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.RESNETS.merge_from_list(["DEPTH", depth, "NORM", norm, *WIDTHS[depth]])
    return cfg


def build_heads(cfg, heads=Res5ROIHeadsExtraNorm):
    channels = cfg.MODEL.RESNETS.RES2_OUT_CHANNELS * 4
    return heads(cfg, {"res4": ShapeSpec(channels=channels, stride=16)})


def export(cfg, path):
    """A pre-trained backbone as backbone.pkl holds it; returns its tensors."""
    cfg = cfg.clone()
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res5"]
    state = build_backbone(cfg).state_dict()
    rng = np.random.default_rng(0)
    weights = {
        name: rng.random(tensor.shape).astype(np.float32)
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }
    with open(path, "wb") as file:
        pickle.dump({"model": weights, "__author__": "test", "matching_heuristics": True}, file)
    return weights


def test_res5_of_a_backbone_loads_by_name(tmp_path):
    cfg = c4_config(50)
    weights = export(cfg, tmp_path / "backbone.pkl")
    model = build_model(cfg)
    DetectionCheckpointer(model).load(str(tmp_path / "backbone.pkl"))
    state = model.state_dict()
    for name, value in weights.items():
        prefix = "roi_heads." if name.startswith("res5.") else "backbone."
        np.testing.assert_array_equal(state[prefix + name].numpy(), value, name)
    new = {x for x in state if x.startswith("roi_heads.res5.") and x[10:] not in weights}
    assert {x for x in new if not x.endswith("num_batches_tracked")} == {
        f"roi_heads.res5.norm.{x}" for x in ("weight", "bias", "running_mean", "running_var")
    }


@pytest.mark.parametrize("depth", [18, 34])
def test_res5_of_basic_blocks_is_that_of_the_backbone(depth):
    cfg = c4_config(depth)
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res5"]
    with torch.device("meta"):  # names and shapes are enough
        expected, heads = build_backbone(cfg).res5, build_heads(cfg)
    del heads.res5.norm
    shapes = [{k: x.shape for k, x in m.state_dict().items()} for m in (expected, heads.res5)]
    assert shapes[0] == shapes[1]


def test_only_the_norm_differs_from_detectron2():
    cfg = c4_config(50)
    ours, theirs = build_heads(cfg), build_heads(cfg, Res5ROIHeads)
    new = set(ours.state_dict()) - set(theirs.state_dict())
    assert set(theirs.state_dict()) <= set(ours.state_dict())
    assert new and all(x.startswith("res5.norm.") for x in new)
    ours.load_state_dict(theirs.state_dict(), strict=False)
    x = torch.randn(3, 64, 14, 14)
    expected = torch.nn.functional.batch_norm(theirs.res5(x), None, None, training=True)
    torch.testing.assert_close(ours.res5(x), expected)


@pytest.mark.parametrize("depth", [18, 50])
def test_inference_with_and_without_proposals(depth):
    cfg = c4_config(depth)
    heads = build_heads(cfg).eval()
    features = {"res4": torch.randn(1, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS * 4, 4, 4)}
    images = ImageList(torch.zeros(1, 3, 64, 64), [(64, 64)])
    for count in (0, 2):
        boxes = torch.tensor([[4.0, 4.0, 40.0, 50.0]] * count).reshape(-1, 4)
        proposals = Instances(
            (64, 64), proposal_boxes=Boxes(boxes), objectness_logits=torch.zeros(count)
        )
        with torch.no_grad():
            (instances,), _ = heads(images, features, [proposals])
        assert instances.has("pred_boxes") and (count or not len(instances))


@pytest.mark.parametrize("norm", ["SyncBN", "naiveSyncBN", "GN", "FrozenBN"])
def test_the_norm_is_that_of_the_backbone(norm):
    heads = build_heads(c4_config(50, norm))
    first = heads.res5[0].conv1.norm
    assert type(heads.res5.norm) is type(first)


def test_a_missing_norm_is_refused():
    with pytest.raises(ValueError, match=r"MODEL\.RESNETS\.NORM is empty.*Res5ROIHeads"):
        build_heads(c4_config(50, ""))
