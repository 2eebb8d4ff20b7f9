"""LC-loss: its forms as loops over a whole step, and what they cost."""

from functools import partial

import literal_methods as literal
import pytest
import torch
from detectron2.modeling import build_model
from helpers import CONFIGS, base_config, needs, random_batch, tiny_config
from test_whole_step import check
from whole_step import COUNT, record_step

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


def training_flops(method, *options):
    """Of ResNet-50 at 224 pixels, with its heads."""
    cfg = base_config()
    cfg.merge_from_file(str(CONFIGS / "Base-Pretrain.yaml"))
    cfg.merge_from_list(["MODEL.META_ARCHITECTURE", method, "MODEL.DEVICE", "cpu",
                         "MODEL.RESNETS.NORM", "BN", "MODEL.SSL.HEAD_NORM", "BN",
                         *needs(method), *options])  # fmt: skip
    batch = random_batch(2, 224, cfg.INPUT.VIEWS.NUM)
    return count_forward(build_model(cfg).train(), batch).training_flops


def test_flops_relative_to_byol_with_the_local_branch():
    byol = training_flops("BYOL")
    assert training_flops("LCLoss") / byol == pytest.approx(1.58, abs=0.01)
    assert training_flops("LCLoss", *ONE) / byol == pytest.approx(1.17, abs=0.01)


RES4 = ("MODEL.RESNETS.OUT_FEATURES", ["res4"], "MODEL.LC_LOSS.IN_FEATURE", "res4",
        "MODEL.BYOL.IN_FEATURE", "res4")  # fmt: skip
PREDICTOR = ("MODEL.LC_LOSS.PREDICTOR", True)
MSE = ("MODEL.LC_LOSS.LOSS", "mse")
JOINED = ("MODEL.SSL.CONCATENATE_VIEWS", True)
OTHER_ORDER = (
    "INPUT.VIEWS.CROP", ("whole", "random", "random"), "INPUT.VIEWS.FLIP_PROB", (0.0, 0.5, 0.5),
    "MODEL.LC_LOSS.WHOLE_VIEW", 0, "MODEL.LC_LOSS.CROP_VIEWS", (1, 2),
)  # fmt: skip
FORWARD, BACKWARD = ((2, 0), (2, 1)), ((0, 2), (1, 2))

# name: yacs pairs, arguments of the loops
VARIANTS = {
    "default": ((), {"pairs": FORWARD + BACKWARD}),
    "one direction": (ONE, {"pairs": FORWARD}),
    "predictor": (PREDICTOR, {"pairs": FORWARD + BACKWARD}),
    "BYOL-type": ((*MSE, *PREDICTOR), {"pairs": FORWARD + BACKWARD, "mse": True}),
    "BYOL-type, one direction": ((*MSE, *PREDICTOR, *ONE), {"pairs": FORWARD, "mse": True}),
    "BYOL-type, joined": (
        (*MSE, *PREDICTOR, *JOINED), {"pairs": FORWARD + BACKWARD, "mse": True, "joined": True}),
    "joined": (JOINED, {"pairs": FORWARD + BACKWARD, "joined": True}),
    "one crop": (("MODEL.LC_LOSS.CROP_VIEWS", (0,)), {"pairs": ((2, 0), (0, 2))}),
    "two views": (TWO_VIEWS, {"pairs": ((1, 0), (0, 1))}),
    "two views, one direction": ((*TWO_VIEWS, *ONE), {"pairs": ((1, 0),)}),
    "the whole image first": (OTHER_ORDER, {"pairs": ((0, 1), (0, 2), (1, 0), (2, 0))}),
    "flipped whole": (
        ("INPUT.VIEWS.FLIP_PROB", (0.5,)), {"pairs": FORWARD + BACKWARD}),
}  # fmt: skip


def byol_of_two_views(made, shown, online, target, drawn, joined):
    online, target = ({v: maps[v] for v in (0, 1)} for maps in (online, target))
    return literal.byol(made, shown, online, target, drawn, joined)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_whole_step(name, image_folder, monkeypatch):
    options, arguments = VARIANTS[name]
    files = sorted(image_folder.glob("*.jpg"))[:COUNT]
    step = record_step(monkeypatch, files, "LCLoss", *RES4, *options)
    flips = {(v, view.flip) for v, views in enumerate(step.shown) for view in views}
    assert len(flips) > len(step.shown)  # some view is flipped in some images
    joined = arguments.get("joined", False)
    check(step, {"BYOLObjective": partial(byol_of_two_views, joined=joined),
                 "LCObjective": partial(literal.lc_loss, **arguments)})  # fmt: skip


def test_a_predictor_is_used_by_the_online_branch_alone():
    plain, own = build("LCLoss"), build("LCLoss", *PREDICTOR)
    made = own.objectives["LCObjective"]
    assert not list(plain.objectives["LCObjective"].predictor.parameters())
    assert made.predictor.hidden.in_features == made.predictor.output.out_features == 8
    pairs = made.momentum_pairs()
    assert [x is made.projector for x, _ in pairs] == [True]
    own(random_batch(4, views=3))["loss_local"].backward()
    assert made.predictor.output.weight.grad.abs().sum() > 0
