"""Views that are too small for the feature maps of an objective are refused at build time."""

import pytest
from detectron2.modeling import build_model
from helpers import METHODS, batch_for, random_batch, tiny_config

from dense_ssl.modeling import pretrainer as pretrainer_module

# One cell of res5 is 32 pixels. These losses need more than one, see Objective.smallest_view.
MORE_THAN_A_CELL = {"SCRL", "DUPR", "PointRegionContrast", "LCLoss"}


def build(method, *options):
    return build_model(tiny_config(method, "unused", "unused", *options))


@pytest.mark.parametrize("method", METHODS)
def test_one_pixel_is_refused(method):
    with pytest.raises(ValueError, match="INPUT.VIEWS.SIZE is 1 for view .*[mM]ake"):
        build(method, "INPUT.VIEWS.SIZE", (1,))


@pytest.mark.parametrize("method", METHODS)
def test_a_view_of_one_cell_is_refused_where_it_teaches_nothing(method):
    if method not in MORE_THAN_A_CELL:
        build(method, "INPUT.VIEWS.SIZE", (32,))
        return
    with pytest.raises(ValueError, match=r"SIZE is 32 for view 0.*'res5': 32.*Make the view 64 or"):
        build(method, "INPUT.VIEWS.SIZE", (32,), "MODEL.SCRL.MIN_BOX_SIZE", 0)
    build(method, "INPUT.VIEWS.SIZE", (64,))


def test_a_view_below_one_cell_is_refused():
    with pytest.raises(ValueError, match=r"SIZE is 31 for view 1.*MODEL.BYOL"):
        build("BYOL", "INPUT.VIEWS.SIZE", (32, 31))


@pytest.mark.parametrize("method, loss", [
    ("SCRL", "loss_scrl"), ("DUPR", "loss_patch_res5"), ("LCLoss", "loss_local"),
])  # fmt: skip
def test_what_is_refused_would_have_no_gradient(monkeypatch, method, loss):
    """Even if both views show the whole image."""
    monkeypatch.setattr(pretrainer_module, "check_sizes", lambda *args: None)
    model = build(method, "INPUT.VIEWS.SIZE", (32,), "MODEL.SCRL.MIN_BOX_SIZE", 0)
    count = len(batch_for(method)[0]["views"])
    batch = random_batch(4, size=32, views=count)
    for sample in batch:
        for view in sample["views"]:
            view["affine"][:] = view["affine"].new_tensor([0.25, 0, 0.25, 0])
    losses = model(batch)
    losses[loss].backward()
    assert losses[loss] == 0
    assert all(x.grad is None or not x.grad.any() for x in model.backbone.parameters())


def test_the_smallest_box_of_scrl_counts():
    options = ("INPUT.VIEWS.SIZE", (64,), "MODEL.SCRL.MIN_BOX_SIZE")
    with pytest.raises(ValueError, match="it needs 65 pixels. Make the view 96"):
        build("SCRL", *options, 64)
    build("SCRL", *options, 63)


def test_only_the_maps_that_dupr_uses_count():
    options = ("INPUT.VIEWS.SIZE", (32,), "MODEL.DUPR.BETA", (0.0, 0.0, 1.0, 0.0))
    build("DUPR", *options)  # the image loss of res5 needs one cell
    with pytest.raises(ValueError, match="SIZE is 31"):
        build("DUPR", *options, "INPUT.VIEWS.SIZE", (31,))
    build("DUPR", *options, "INPUT.VIEWS.SIZE", (31,), "MODEL.DUPR.ALPHA", (1.0, 0.0, 0.0, 0.0))


def test_local_distance_needs_no_second_cell():
    build("LCLoss", "INPUT.VIEWS.SIZE", (32,), "MODEL.LC_LOSS.LOSS", "mse")


def test_a_view_that_no_objective_uses_may_have_any_size():
    build("BYOL", "INPUT.VIEWS.NUM", 3, "INPUT.VIEWS.SIZE", (64, 64, 1),
          "INPUT.VIEWS.BLUR_PROB", (0.1,), "INPUT.VIEWS.SOLARIZE_PROB", (0.1,))  # fmt: skip


def test_a_finer_level_allows_smaller_views():
    levels = ("MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone", "MODEL.FPN.OUT_CHANNELS", 8,
              "MODEL.RESNETS.OUT_FEATURES", ["res2", "res3", "res4", "res5"],
              "MODEL.FPN.IN_FEATURES", ["res2", "res3", "res4", "res5"],
              "MODEL.SCRL.MIN_BOX_SIZE", 0, "INPUT.VIEWS.SIZE", (32,))  # fmt: skip
    build("MultiObjective", *levels, "MODEL.SSL.OBJECTIVES", ("SCRLObjective@p3",))
    with pytest.raises(ValueError, match="SCRLObjective@p5.*'p5': 32"):
        build("MultiObjective", *levels, "MODEL.SSL.OBJECTIVES",
              ("SCRLObjective@p3", "SCRLObjective@p5"))  # fmt: skip


FPN = (
    "MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone", "MODEL.FPN.OUT_CHANNELS", 16,
    "MODEL.RESNETS.OUT_FEATURES", ["res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES", ["res3", "res4", "res5"], "MODEL.BYOL.IN_FEATURE", "p3",
)  # fmt: skip


@pytest.mark.parametrize(
    "sizes, view, better", [((64, 48), 1, 64), ((112,), 0, 128), ((72,), 0, 64)]
)
def test_a_pyramid_takes_multiples_of_its_stride(sizes, view, better):
    message = rf"SIZE is {sizes[view]} for view {view}.*multiples of 32 alone: make it {better}"
    with pytest.raises(ValueError, match=message):
        build("BYOL", *FPN, "INPUT.VIEWS.SIZE", sizes)
    build("BYOL", *FPN, "INPUT.VIEWS.SIZE", (better,))


def test_what_is_refused_would_fail_in_the_pyramid(monkeypatch):
    monkeypatch.setattr(pretrainer_module, "check_divisibility", lambda *args: None)
    model = build("BYOL", *FPN, "INPUT.VIEWS.SIZE", (48,))
    with pytest.raises(RuntimeError, match="must match"):
        model(random_batch(2, size=48))


def test_without_a_pyramid_any_size_will_do():
    model = build("BYOL", "INPUT.VIEWS.SIZE", (48,))
    assert model(random_batch(2, size=48))["loss_byol"] > 0
