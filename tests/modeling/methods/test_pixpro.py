"""PixPro against loops over its equations."""

import math

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from helpers import TINY, base_config, batch_for, tiny_config
from oracles import DISJOINT, SIDE, GivenPasses, N, make_views

from dense_ssl.modeling.methods import PixProObjective
from dense_ssl.modeling.methods.pixpro import propagate
from dense_ssl.structures import Views

C, CELLS = 6, 4


class GivenFeatures(GivenPasses):
    """The feature maps are given."""

    def __init__(self, seed, **options):
        super().__init__(**options)
        generator = torch.Generator().manual_seed(seed)
        shape = (2, 2, N, C, CELLS, CELLS)
        self.maps = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    def online(self, view):
        return {"res5": self.maps[0][view]}

    def target(self, view):
        return {"res5": self.maps[1][view].detach()}


def objective(*options):
    """PixPro in double precision with a target head that differs from the online head."""
    torch.manual_seed(0)
    cfg = base_config(*TINY, *options)
    made = PixProObjective(cfg, {"res5": ShapeSpec(channels=C, stride=SIDE // CELLS)}).double()
    with torch.no_grad():
        for x in made.target_projector.parameters():
            x.add_(0.1 * torch.randn_like(x))
    return made


def cells_of(head, feature_map):
    """(C, h, w) -> list of projected cells, row by row."""
    return [head(feature_map[None, :, r, c])[0] for r in range(CELLS) for c in range(CELLS)]


def cosine(a, b):
    return (a @ b) / (a.norm() * b.norm())


def literal_propagation(cells, transform, power):
    """Eq. 3 with the similarity of Eq. 4."""
    result = []
    for x in cells:
        total = 0
        for other in cells:
            value = transform(other[None])[0]
            total = total + max(cosine(x, other).item(), 0) ** power * value / value.norm()
        result.append(total)
    return result


def places(view, row):
    """Centres of the cells in image pixels, and the diagonal of a cell there."""
    sx, tx, sy, ty = view.affine[row].tolist()
    step = SIDE / CELLS
    centres = [(((c + 0.5) * step - tx) / sx, ((r + 0.5) * step - ty) / sy)
               for r in range(CELLS) for c in range(CELLS)]  # fmt: skip
    return centres, math.hypot(step / sx, step / sy)


def literal_pixpro(made, views, passes, power=2, threshold=0.7):
    """Eq. 5 over the pairs of Eq. 1, the mean of both directions, in [-1, 1]."""
    directions = []
    for o, t in ((0, 1), (1, 0)):
        images = []
        for row in range(N):
            cells = cells_of(made.projector, passes.online(o)["res5"][row])
            ys = literal_propagation(cells, made.propagation.transform, power)
            xs = cells_of(made.target_projector, passes.target(t)["res5"][row])
            (here, a), (there, b) = places(views[o], row), places(views[t], row)
            terms = [-cosine(ys[i], xs[j]).item()
                     for i, (px, py) in enumerate(here) for j, (qx, qy) in enumerate(there)
                     if math.hypot(px - qx, py - qy) / max(a, b) <= threshold]  # fmt: skip
            if terms:
                images.append(sum(terms) / len(terms))
        directions.append(sum(images) / len(images))
    return sum(directions) / 2


@pytest.mark.parametrize("options, values", [
    ((), {}), (("MODEL.PIXPRO.POWER", 3.0), {"power": 3}),
    (("MODEL.PIXPRO.THRESHOLD", 0.4), {"threshold": 0.4}),
    (("MODEL.PIXPRO.TRANSFORM_LAYERS", 0), {}),
    (("MODEL.PIXPRO.TRANSFORM_LAYERS", 2, "MODEL.SSL.HEAD_NORM", ""), {}),
])  # fmt: skip
def test_agrees_with_its_equations(options, values):
    made = objective("MODEL.SSL.HEAD_NORM", "", *options)
    views, passes = make_views(1, {1: DISJOINT}), GivenFeatures(2)
    loss = made(views, passes)["loss_pixpro"]
    assert loss.item() == pytest.approx(literal_pixpro(made, views, passes, **values), abs=1e-10)
    loss.backward()
    reached = passes.maps.grad.abs().amax(dim=(1, 3, 4, 5))  # online and target, by image
    assert (reached[0] > 0).tolist() == [True, False, True, True, True] and not reached[1].any()


def test_flipping_features_and_views_together_changes_nothing():
    made, views, passes = objective(), make_views(2), GivenFeatures(3)
    before = made(views, passes)["loss_pixpro"].item()
    mirrored = views[1].affine.clone()
    mirrored[:, 0], mirrored[:, 1] = -mirrored[:, 0], SIDE - mirrored[:, 1]
    views[1] = Views(views[1].images, mirrored, views[1].seeds)
    passes.maps = torch.stack([passes.maps[:, 0], passes.maps[:, 1].flip(-1)], dim=1)
    assert made(views, passes)["loss_pixpro"].item() == pytest.approx(before, abs=1e-10)
    passes.maps = torch.stack([passes.maps[:, 0].flip(-1), passes.maps[:, 1]], dim=1)
    assert made(views, passes)["loss_pixpro"].item() != pytest.approx(before, abs=1e-3)


def test_propagation_of_cells_that_look_alike_and_of_cells_that_do_not():
    same = torch.ones(1, 4, 3, dtype=torch.float64)
    values = torch.eye(4, 3, dtype=torch.float64)[None]
    assert torch.allclose(
        propagate(same, values, 2), values.sum(dim=1, keepdim=True).expand(1, 4, 3)
    )
    apart = torch.eye(3, dtype=torch.float64)[None]
    assert torch.allclose(propagate(apart, apart, 2), apart)  # each cell keeps its own value
    against = torch.stack([apart[0, 0], -apart[0, 0]])[None]
    assert torch.allclose(propagate(against, against, 2), against)  # negative cosines count 0


def test_the_metarchitecture_sums_both_directions():
    model = build_model(tiny_config("PixPro", "unused", "unused"))
    assert model.weights == {"PixProObjective": 2.0}
    loss = model(batch_for("PixPro"))["loss_pixpro"].item()
    assert -2 <= loss <= 2


def test_marks_are_pairs_of_the_assignment_rule():
    made, views = objective(), make_views(4, {2: DISJOINT})
    squares = made.matches(views)
    drawn = [squares[v][..., 2] > squares[v][..., 0] for v in (0, 1)]
    assert torch.equal(*drawn) and not drawn[0][2].any() and drawn[0].any()
    centres = [v.to_image((squares[i][..., :2] + squares[i][..., 2:]) / 2)
               for i, v in enumerate(views)]  # fmt: skip
    step = SIDE / 7
    diagonal = torch.maximum(*((step / v.zoom).norm(dim=1) for v in views))
    distance = (centres[0] - centres[1]).norm(dim=2) / diagonal[:, None]
    assert (distance[drawn[0]] <= 0.7 + 1e-9).all()


@pytest.mark.parametrize("key, value", [
    ("THRESHOLD", 0.0), ("POWER", -1.0), ("TRANSFORM_LAYERS", 3), ("IN_FEATURE", "res9"),
])  # fmt: skip
def test_wrong_keys_are_named(key, value):
    with pytest.raises(ValueError, match=f"MODEL.PIXPRO.{key}"):
        objective(f"MODEL.PIXPRO.{key}", value)
