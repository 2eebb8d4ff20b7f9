"""Self-EMD and LC-loss against loops over their equations, and their options."""

import math

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from helpers import TINY, base_config, random_batch, tiny_config
from oracles import DISJOINT, SIDE, GivenPasses, N, distance, make_views
from torch.nn import functional as F

from dense_ssl.losses import emd_distance, marginal_weights
from dense_ssl.modeling.methods import LCObjective, SelfEMDObjective
from dense_ssl.structures import Views

C, CELLS = 6, 7
THREE = ("INPUT.VIEWS.NUM", 3, "INPUT.VIEWS.CROP", ("random", "random", "whole"),
         "INPUT.VIEWS.FLIP_PROB", (0.5, 0.5, 0.0))  # fmt: skip


class GivenFeatures(GivenPasses):
    """Maps of three views, the third of fewer cells."""

    def __init__(self, seed, sides=(CELLS, CELLS, 4), **options):
        super().__init__(**options)
        generator = torch.Generator().manual_seed(seed)
        self.maps = [
            [torch.randn(N, C, x, x, generator=generator, dtype=torch.float64) for x in sides]
            for _ in range(2)
        ]

    def online(self, view):
        return {"res5": self.maps[0][view]}

    def target(self, view):
        return {"res5": self.maps[1][view]}


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


def rows_of(maps):
    """(N, C, H, W) -> a list over images of the list of its cells, row by row."""
    return [[x[:, i, j] for i in range(x.shape[1]) for j in range(x.shape[2])] for x in maps]


def through(heads, cells):
    """Cells of all images through heads together, as norms see them."""
    count = len(cells[0])
    flat = torch.stack([x for image in cells for x in image])
    for head in heads:
        flat = head(flat)
    return flat.view(len(cells), count, -1)


def pooled(nodes, side, kernel, stride):
    """Average pooling of nodes (N, side * side, D), cell by cell."""
    grid = nodes.view(len(nodes), side, side, -1)
    steps = range(0, side - kernel + 1, stride)
    return torch.stack(
        [grid[:, i : i + kernel, j : j + kernel].mean(dim=(1, 2)) for i in steps for j in steps], 1
    )


def pyramid(nodes, side):
    levels = [nodes]
    if side >= 5:
        levels += [pooled(nodes, side, 3, 1), pooled(nodes, side, 3, 2)]
    return levels


def literal_self_emd(emd, passes, pairs, mode):
    """Eq. 13 and the vector loss, as means over the ordered pairs of views."""
    total, vectors = 0, 0
    for o, t in pairs:
        x_map, y_map = passes.maps[0][o], passes.maps[1][t]
        x = through([emd.projector["map"], emd.predictor["map"]], rows_of(x_map))
        y = through([emd.target_projector["map"]], rows_of(y_map))
        v_x = emd.predictor["vector"](emd.projector["vector"](x_map.mean(dim=(2, 3))))
        v_y = emd.target_projector["vector"](y_map.mean(dim=(2, 3)))
        x_levels, y_levels = (pyramid(z, z_map.shape[2]) for z, z_map in ((x, x_map), (y, y_map)))
        if mode == "none":
            x_levels, y_levels = x_levels[:1], y_levels[:1]
        if mode == "union":
            x_levels, y_levels = ([torch.cat(z, dim=1)] for z in (x_levels, y_levels))
        terms = [
            emd_distance(a, b, marginal_weights(a, v_y), marginal_weights(b, v_x), 0.05, 20)
            for a, b in zip(x_levels, y_levels)
        ]
        total += sum(terms).item() / len(terms)
        vectors += sum(distance(p, q) for p, q in zip(v_x, v_y)) / N
    return total / len(pairs), vectors / len(pairs)


@pytest.mark.parametrize("mode", ["union", "levels", "none"])
@pytest.mark.parametrize("views", [2, 3])
def test_self_emd_agrees_with_its_equations(mode, views):
    options = ("MODEL.SELF_EMD.PYRAMID", mode, "MODEL.SELF_EMD.NUM_VIEWS", views)
    emd = objective(SelfEMDObjective, *options, "MODEL.SELF_EMD.VECTOR_LOSS_WEIGHT", 0.5)
    passes = GivenFeatures(1)
    pairs = [(0, 1), (1, 0)] + [(2, 0), (2, 1)] * (views == 3)
    expected = literal_self_emd(emd, passes, pairs, mode)
    losses = emd(three_views(), passes)
    assert losses["loss_emd"].item() == pytest.approx(expected[0], abs=1e-9)
    assert losses["loss_vector"].item() == pytest.approx(0.5 * expected[1], abs=1e-9)


def test_the_pyramid_of_seven_cells_has_83_nodes():
    emd, passes = objective(SelfEMDObjective), GivenFeatures(1)
    levels = emd._levels(emd._predict(passes.online(0)["res5"])["map"])
    assert [x.shape[1] for x in levels] == [49, 25, 9]
    small = emd._predict(passes.online(2)["res5"])["map"]
    assert [x.shape[1] for x in emd._levels(small)] == [16]


@pytest.mark.parametrize("marginals", ["mean", "uniform"])
def test_other_marginals(marginals):
    options = ("MODEL.SELF_EMD.MARGINALS", marginals, "MODEL.SELF_EMD.VECTOR_LOSS_WEIGHT", 0.0,
               "MODEL.SELF_EMD.NUM_VIEWS", 2, "MODEL.SELF_EMD.PYRAMID", "none")  # fmt: skip
    emd, passes = objective(SelfEMDObjective, *options), GivenFeatures(2)
    assert set(emd.projector) == set(emd.predictor) == {"map"}  # no vector branch
    terms = []
    for o, t in ((0, 1), (1, 0)):
        x = through([emd.projector["map"], emd.predictor["map"]], rows_of(passes.maps[0][o]))
        y = through([emd.target_projector["map"]], rows_of(passes.maps[1][t]))
        masses = [z.new_full(z.shape[:2], 1 / z.shape[1]) for z in (x, y)]
        if marginals == "mean":  # Eq. 14
            masses = marginal_weights(x, y.mean(dim=1)), marginal_weights(y, x.mean(dim=1))
        terms.append(emd_distance(x, y, *masses, 0.05, 20).item())
    losses = emd(three_views(), passes)
    assert set(losses) == {"loss_emd"}
    assert losses["loss_emd"].item() == pytest.approx(sum(terms) / 2, abs=1e-9)


def test_normalised_nodes_weigh_by_direction():
    plain = objective(SelfEMDObjective)
    unit = objective(SelfEMDObjective, "MODEL.SELF_EMD.NORMALIZE_NODES", True)
    x, y, v = torch.rand(2, 3, 4), torch.rand(2, 5, 4), {"vector": torch.rand(2, 4)}
    assert torch.allclose(unit._masses(x, y, v, v)[0], unit._masses(5 * x, y, v, v)[0], atol=1e-6)
    grown = x * torch.tensor([1.0, 5.0, 1.0])[None, :, None]
    a, b = (z._masses(grown, y, v, v)[0] for z in (plain, unit))
    assert (a[:, 1] > b[:, 1]).all()


def test_the_gradient_through_the_plan_is_a_choice():
    gradients = []
    for differentiate in (False, True):
        emd = objective(SelfEMDObjective, "MODEL.SELF_EMD.DIFFERENTIATE_PLAN", differentiate)
        passes = GivenFeatures(3)
        losses = emd(three_views(), passes)
        losses["loss_emd"].backward()
        gradients.append(emd.projector["map"].output.weight.grad.clone())
        # detached marginals teach the vector branch nothing
        taught = emd.projector["vector"].output.weight.grad
        assert differentiate == (taught is not None and taught.abs().sum() > 0)
    assert not torch.allclose(*gradients)


def test_self_emd_does_not_ask_where_views_lie():
    emd, passes = objective(SelfEMDObjective), GivenFeatures(4)
    apart = three_views(1, dict.fromkeys(range(N), DISJOINT))
    assert emd(three_views(0), passes)["loss_emd"] == emd(apart, passes)["loss_emd"]


def test_flipping_a_map_does_not_matter_to_transport():
    emd, passes = objective(SelfEMDObjective), GivenFeatures(5)
    before = emd(three_views(), passes)["loss_emd"]
    passes.maps[1][1] = passes.maps[1][1].flip(-1)
    assert emd(three_views(), passes)["loss_emd"].item() == pytest.approx(before.item(), abs=1e-9)


def literal_lc(lc, views, passes, pairs, loss="contrast"):
    """Eq. 2 to 4, cell by cell: centre, image, other view, bilinear reading of the NLL map."""
    total = 0
    for sought, where in pairs:
        anchors = through([lc.target_projector], rows_of(passes.maps[1][sought]))
        found = through([lc.projector], rows_of(passes.maps[0][where]))
        side, other = passes.maps[1][sought].shape[2], passes.maps[0][where].shape[2]
        terms = []
        for i in range(N):
            sx, tx, sy, ty = views[sought].affine[i].tolist()
            ux, vx, uy, vy = views[where].affine[i].tolist()
            for cell in range(side * side):
                x = ((cell % side + 0.5) * SIDE / side - tx) / sx
                y = ((cell // side + 0.5) * SIDE / side - ty) / sy
                x, y = ux * x + vx, uy * y + vy
                if not (0 <= x < SIDE and 0 <= y < SIDE):
                    continue
                weights = corners(x * other / SIDE - 0.5, y * other / SIDE - 0.5, other)
                anchor = F.normalize(anchors[i, cell], dim=0)
                scores = F.normalize(found[i], dim=1)
                if loss == "mse":
                    there = sum(w * found[i, k] for k, w in weights.items())
                    terms.append(distance(there, anchors[i, cell]))
                    continue
                scores = (scores @ anchor / 0.1).tolist()
                normaliser = math.log(sum(math.exp(s) for s in scores))
                terms.append(sum(w * (normaliser - scores[k]) for k, w in weights.items()))
        total += sum(terms) / len(terms) / len(pairs)
    return total


def corners(x, y, side):
    """{cell: weight} of a bilinear reading at grid indices, held at the border."""
    x, y = min(max(x, 0.0), side - 1.0), min(max(y, 0.0), side - 1.0)
    x0, y0 = min(int(x), side - 2), min(int(y), side - 2)
    a, b = x - x0, y - y0
    return {
        y0 * side + x0: (1 - a) * (1 - b), y0 * side + x0 + 1: a * (1 - b),
        (y0 + 1) * side + x0: (1 - a) * b, (y0 + 1) * side + x0 + 1: a * b,
    }  # fmt: skip


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("loss", ["contrast", "mse"])
def test_lc_loss_agrees_with_its_equations(symmetric, loss):
    options = ("MODEL.LC_LOSS.SYMMETRIC", symmetric, "MODEL.LC_LOSS.LOSS", loss)
    lc = objective(LCObjective, *options)
    views, passes = three_views(1), GivenFeatures(1, (7, 7, 5))
    pairs = [(2, 0), (2, 1)] + [(0, 2), (1, 2)] * symmetric
    expected = literal_lc(lc, views, passes, pairs, loss)
    assert lc(views, passes)["loss_local"].item() == pytest.approx(expected, abs=1e-9)


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
    lc, views, passes = objective(LCObjective), three_views(2), GivenFeatures(2, (7, 7, 7))
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
    loss = lc(views, GivenFeatures(3))["loss_local"]
    loss.backward()
    assert loss.item() == 0
    assert all(torch.isfinite(x.grad).all() for x in lc.projector.parameters())


@pytest.mark.parametrize("kind, key, value", [
    (SelfEMDObjective, "SELF_EMD.MARGINALS", "max"), (SelfEMDObjective, "SELF_EMD.PYRAMID", "all"),
    (SelfEMDObjective, "SELF_EMD.NUM_VIEWS", 1),
    (SelfEMDObjective, "SELF_EMD.IN_FEATURE", "p9"), (LCObjective, "LC_LOSS.LOSS", "l1"),
    (LCObjective, "LC_LOSS.CROP_VIEWS", (2,)), (LCObjective, "LC_LOSS.WHOLE_VIEW", 0),
    (LCObjective, "LC_LOSS.IN_FEATURE", "p9"),
])  # fmt: skip
def test_unknown_options_name_their_key(kind, key, value):
    with pytest.raises(ValueError, match=f"MODEL.{key.split('.')[0]}"):
        objective(kind, f"MODEL.{key}", value)


def test_untrained_vectors_weigh_nothing():
    with pytest.raises(ValueError, match="VECTOR_LOSS_WEIGHT"):
        objective(SelfEMDObjective, "MODEL.SELF_EMD.VECTOR_LOSS_WEIGHT", 0.0)


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
    for method, sizes, kind in (("SelfEMD", (64, 64, 32), "transport"), ("LCLoss", None, "views")):
        torch.manual_seed(0)
        model = build_model(tiny_config(method, "unused", "unused", "VIS_PERIOD", 1))
        with EventStorage(0) as storage, torch.autocast("cpu", torch.bfloat16):
            model(random_batch(3, views=3, sizes=sizes))
            names = {name.split("/")[0] for name, _, _ in storage._vis_data}
        assert kind in names
