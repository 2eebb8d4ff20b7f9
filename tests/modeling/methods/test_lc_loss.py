"""LC-loss: what its forms cost, and its predictor."""

import pytest
import torch
from detectron2.modeling import build_model
from helpers import CONFIGS, base_config, needs, random_batch, tiny_config

from dense_ssl.modeling import passes as passes_module
from dense_ssl.reports.flops import count_forward

ONE = ("MODEL.LC_LOSS.SYMMETRIC", False)
# the reading with two views: the crop of BYOL's first view, the whole image as its second
TWO_VIEWS = (
    "INPUT.VIEWS.NUM", 2, "INPUT.VIEWS.CROP", ("random", "whole"),
    "INPUT.VIEWS.FLIP_PROB", (0.5, 0.0), "MODEL.LC_LOSS.WHOLE_VIEW", 1,
    "MODEL.LC_LOSS.CROP_VIEWS", (0,),
)  # fmt: skip


def build(method, *options):
    torch.manual_seed(0)
    return build_model(tiny_config(method, "unused", "unused", *options))


def passes_of(model, views, monkeypatch):
    """Online and target passes of a step."""
    calls, original = [], passes_module.extract_features

    def count(encoder, images):
        calls.append(encoder is model.backbone)
        return original(encoder, images)

    monkeypatch.setattr(passes_module, "extract_features", count)
    model(random_batch(2, views=views))
    monkeypatch.undo()
    return sum(calls), len(calls) - sum(calls)


@pytest.mark.parametrize("options, views, expected", [
    ((), 3, 1.5),  # the paper's time per epoch (Table 5)
    (ONE, 3, 1.125), (TWO_VIEWS, 2, 1.0), ((*TWO_VIEWS, *ONE), 2, 1.0),
])  # fmt: skip
def test_cost_in_passes_relative_to_byol(options, views, expected, monkeypatch):
    """A backward pass costs as much as two forward passes."""
    costs = []
    for model, count in ((build("BYOL"), 2), (build("LCLoss", *options), views)):
        online, target = passes_of(model, count, monkeypatch)
        costs.append(3 * online + target)
    assert costs[1] / costs[0] == expected


@pytest.mark.parametrize("options, expected", [((), 1.58), (ONE, 1.17)])
def test_flops_with_the_local_branch(options, expected):
    """ResNet-50 at 224 pixels, the local branch included."""
    flops = []
    for method, own, views in (("BYOL", (), 2), ("LCLoss", options, 3)):
        cfg = base_config()
        cfg.merge_from_file(str(CONFIGS / "Base-Pretrain.yaml"))
        cfg.merge_from_list(["MODEL.META_ARCHITECTURE", method, "MODEL.DEVICE", "cpu",
                             "MODEL.RESNETS.NORM", "BN", "MODEL.SSL.HEAD_NORM", "BN",
                             *(needs(method)), *own])  # fmt: skip
        model = build_model(cfg).train()
        flops.append(count_forward(model, random_batch(2, 224, views)).training_flops)
    assert flops[1] / flops[0] == pytest.approx(expected, abs=0.01)
