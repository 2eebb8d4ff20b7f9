"""What detectron2 refuses when a model is built is said with the keys; other errors are kept."""

import pytest
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY
from helpers import DETECTOR, load_config
from torch import nn

from dense_ssl.modeling.building import build_model


@pytest.mark.parametrize(
    "options, parts",
    [
        (("MODEL.RPN.IN_FEATURES", ("p9",)),
         ("MODEL.RPN.IN_FEATURES names 'p9'; the maps are p3, p4, p5, p6.",)),
        (("MODEL.ROI_HEADS.IN_FEATURES", ("p3", "res4")),
         ("MODEL.ROI_HEADS.IN_FEATURES names 'res4'; the maps are p3",)),
        (("MODEL.FPN.IN_FEATURES", ("res3", "res9")),
         ("MODEL.FPN.IN_FEATURES names 'res9'; the maps are res3, res4, res5.",)),
        # detectron2's own words, or its line where it has none
        (("MODEL.RESNETS.NUM_GROUPS", 7), ("Must set MODEL.RESNETS.NUM_GROUPS = 1", "resnet.py")),
        (("MODEL.ANCHOR_GENERATOR.SIZES", [[24], [48]]), ("Got sizes of length 2", "line ")),
        (("MODEL.ROI_BOX_HEAD.NUM_FC", 0), ("box_head.py", "assert len(conv_dims) + len(fc_dims)")),
        # torch refuses what detectron2 passes on
        (("MODEL.ROI_MASK_HEAD.CONV_DIM", -1), ("negative dimension -1", "detectron2/")),
    ],
)  # fmt: skip
def test_what_detectron2_refuses(options, parts):
    cfg = load_config(DETECTOR)
    cfg.merge_from_list(list(options))
    with pytest.raises(ValueError) as caught:
        build_model(cfg)
    assert all(x in str(caught.value) for x in parts) and caught.value.__cause__ is not None


@pytest.mark.parametrize("error", [KeyError("p9"), AssertionError("mine"), RuntimeError("mine")])
def test_errors_of_other_code_are_kept(monkeypatch, error):
    """A model or a backbone of a user's own module: the traceback is what helps."""

    def build_own(cfg, input_shape=None):
        raise error

    monkeypatch.setitem(BACKBONE_REGISTRY._obj_map, "own_backbone", build_own)
    monkeypatch.setitem(META_ARCH_REGISTRY._obj_map, "OwnModel", build_own)
    cfg = load_config(DETECTOR)
    cfg.MODEL.BACKBONE.NAME = "own_backbone"
    with pytest.raises(type(error)) as caught:
        build_model(cfg)
    assert caught.value is error
    cfg.MODEL.META_ARCHITECTURE = "OwnModel"
    with pytest.raises(type(error)) as caught:
        build_model(cfg)
    assert caught.value is error


def test_a_device_without_memory_is_not_the_fault_of_the_keys(monkeypatch):
    def refuse(self, *args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(nn.Module, "to", refuse)
    with pytest.raises(RuntimeError, match="out of memory"):
        build_model(load_config(DETECTOR))
