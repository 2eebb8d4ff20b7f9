"""LC-loss: its passes, its options, its pictures. Its equations are in test_lc_loss.py."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from helpers import TINY, base_config, random_batch, tiny_config
from oracles import DISJOINT, SIDE, MapsOfViews, N, make_views

from dense_ssl.modeling.methods import LCObjective
from dense_ssl.structures import Views

C, CELLS = MapsOfViews.channels, MapsOfViews.cells
THREE = ("INPUT.VIEWS.NUM", 3, "INPUT.VIEWS.CROP", ("random", "random", "whole"),
         "INPUT.VIEWS.FLIP_PROB", (0.5, 0.5, 0.0))  # fmt: skip


def objective(kind, *options):
    """An objective in double precision whose target heads are not its online heads."""
    torch.manual_seed(0)
    cfg = base_config(*TINY, *THREE, *options)
    made = kind(cfg, {"res5": ShapeSpec(channels=C, stride=SIDE // 8)}).double()
    with torch.no_grad():
        for x in made.target_projector.parameters():
            x.add_(0.1 * torch.randn_like(x))
    return made


def three_views(seed=0, shifts=()):
    views = make_views(seed, shifts)
    whole = torch.tensor([SIDE / 200, 0, SIDE / 150, 0], dtype=torch.float64).expand(N, 4)
    return [*views, Views(views[0].images, whole, views[0].seeds)]


def test_lc_loss_asks_for_the_passes_it_needs():
    both = objective(LCObjective)
    assert set(both.online_views) == set(both.target_views) == {0, 1, 2}
    one = ("MODEL.LC_LOSS.SYMMETRIC", False)
    lc = objective(LCObjective, *one)
    assert lc.online_views == (0, 1) and lc.target_views == (2,)
    two = objective(LCObjective, *one, "MODEL.LC_LOSS.WHOLE_VIEW", 1,
                    "MODEL.LC_LOSS.CROP_VIEWS", (0,),
                    "INPUT.VIEWS.NUM", 2, "INPUT.VIEWS.CROP", ("random", "whole"))  # fmt: skip
    assert two.online_views == (0,) and two.target_views == (1,)


def test_lc_loss_flipping_a_crop_and_its_features_changes_nothing():
    lc, views, passes = objective(LCObjective), three_views(2), MapsOfViews(2, (7, 7, 7))
    before = lc(views, passes)["loss_local"]
    mirrored = views[0].affine.clone()
    mirrored[:, 0], mirrored[:, 1] = -mirrored[:, 0], SIDE - mirrored[:, 1]
    views[0] = Views(views[0].images, mirrored, views[0].seeds)
    for maps in passes.maps:
        maps[0] = maps[0].flip(-1)
    assert lc(views, passes)["loss_local"].item() == pytest.approx(before.item(), abs=1e-9)


def test_lc_loss_without_any_correspondence_trains_on():
    lc = objective(LCObjective)
    views = three_views(0, dict.fromkeys(range(N), DISJOINT))
    for view in views[:2]:
        view.affine[:, 1] = -5000
    loss = lc(views, MapsOfViews(3))["loss_local"]
    loss.backward()
    assert loss.item() == 0
    assert all(torch.isfinite(x.grad).all() for x in lc.projector.parameters())


@pytest.mark.parametrize("key, value", [
    ("LOSS", "l1"), ("CROP_VIEWS", (2,)), ("WHOLE_VIEW", 0), ("IN_FEATURE", "p9"),
])  # fmt: skip
def test_unknown_options_name_their_key(key, value):
    with pytest.raises(ValueError, match="MODEL.LC_LOSS"):
        objective(LCObjective, f"MODEL.LC_LOSS.{key}", value)


def test_a_crop_is_not_the_whole_image():
    with pytest.raises(ValueError, match="INPUT.VIEWS.CROP"):
        objective(LCObjective, "INPUT.VIEWS.CROP", ("random",))


@pytest.mark.parametrize("alpha, names", [
    (0.1, {"loss_byol", "loss_local"}), (0.0, {"loss_byol"}), (1.0, {"loss_local"}),
])  # fmt: skip
def test_alpha_balances_a_mean_of_byols_directions(alpha, names):
    torch.manual_seed(0)
    model = build_model(tiny_config("LCLoss", "unused", "unused", "MODEL.LC_LOSS.ALPHA", alpha))
    assert set(model(random_batch(4, views=3))) == names
    assert model.weights.get("BYOLObjective", 0) == pytest.approx(1 - alpha)


def test_marks_of_one_number_lie_on_one_place_of_the_image():
    views = three_views(seed=4)
    squares = objective(LCObjective).matches(views)
    assert set(squares) == {0, 1, 2}
    drawn = {k: x[..., 2] > x[..., 0] for k, x in squares.items()}
    places = {
        k: views[k].to_image((x[..., :2] + x[..., 2:]).double() / 2) for k, x in squares.items()
    }
    assert torch.equal(drawn[2], drawn[0] | drawn[1]) and 0 < drawn[0].sum() < drawn[0].numel()
    for crop in (0, 1):
        both = drawn[crop]
        assert torch.allclose(places[crop][both], places[2][both], atol=1e-6)


def test_pictures():
    torch.manual_seed(0)
    model = build_model(tiny_config("LCLoss", "unused", "unused", "VIS_PERIOD", 1))
    with EventStorage(0) as storage, torch.autocast("cpu", torch.bfloat16):
        model(random_batch(3, views=3))
        names = {name.split("/")[0] for name, _, _ in storage._vis_data}
    assert "views" in names
