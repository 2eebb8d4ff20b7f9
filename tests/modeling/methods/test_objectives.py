"""BYOL and SCRL against literal loops over their equations, and SCRL's options."""

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from helpers import TINY, base_config
from oracles import (
    CELLS,
    DISJOINT,
    NARROW,
    SIDE,
    STRIDE,
    GivenPasses,
    N,
    distance,
    literal_align,
    literal_box,
    make_views,
)
from torch import nn

from dense_ssl.data.views.crops import crop_affine, draw_crop
from dense_ssl.modeling.geometry import boxes as box_ops
from dense_ssl.modeling.methods import BYOLObjective, SCRLObjective
from dense_ssl.structures import Views

C = 6


class GivenFeatures(GivenPasses):
    """The feature maps of the online and of the target encoder are given."""

    def __init__(self, online, target, **options):
        super().__init__(**options)
        self.maps = (online, target)

    def online(self, view):
        return {"res5": self.maps[0][view]}

    def target(self, view):
        return {"res5": self.maps[1][view]}


def objective(kind, *options, channels=C):
    """An objective in double precision whose target heads are not its online heads."""
    torch.manual_seed(0)
    cfg = base_config(*TINY, *options)
    made = kind(cfg, {"res5": ShapeSpec(channels=channels, stride=STRIDE)}).double()
    with torch.no_grad():
        for x in made.target_projector.parameters():
            x.add_(0.1 * torch.randn_like(x))
    return made


def features(seed, channels=C):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, N, channels, CELLS, CELLS)
    online, target = torch.randn((2, *shape), generator=generator, dtype=torch.float64)
    return GivenFeatures(list(online.requires_grad_()), list(target))


def literal_mean(feature_map):
    """(C, H, W) -> (C,)."""
    return sum(feature_map[:, y, x] for y in range(CELLS) for x in range(CELLS)) / CELLS**2


def literal_scrl(scrl, views, passes, aligned):
    """Eq. 2 and 3: per direction the mean over the boxes of usable images, both summed."""
    region, smallest = views[0].overlap(views[1]), box_ops.smallest_box(*views, 16)
    usable = [
        all(region[i, 2 + a] - region[i, a] > smallest[i, a] for a in (0, 1)) for i in range(N)
    ]
    # images without overlap keep their rows, so that norms see them: boxes without area
    region[:, 2:] = torch.maximum(region[:, :2], region[:, 2:])
    drawn = box_ops.sample_boxes(region, smallest, views[0].seeds, **scrl.sampling).tolist()
    total = 0
    for online, target in ((0, 1), (1, 0)):
        pooled = [
            torch.stack([
                literal_align(maps[view][i], literal_box(views[view], i, box), aligned)
                for i in range(N) for box in drawn[i]
            ])
            for maps, view in zip(passes.maps, (online, target))
        ]  # fmt: skip
        prediction = scrl.predictor(scrl.projector(pooled[0]))
        goal = scrl.target_projector(pooled[1])
        rows = [i * len(drawn[i]) + k for i in range(N) if usable[i] for k in range(len(drawn[i]))]
        total += sum(distance(prediction[r], goal[r]) for r in rows) / len(rows)
    return total


def test_byol_agrees_with_its_equations():
    byol, views, passes = objective(BYOLObjective), make_views(), features(1)
    expected = 0
    for online, target in ((0, 1), (1, 0)):
        pooled = [
            torch.stack([literal_mean(x) for x in maps[view]])
            for maps, view in zip(passes.maps, (online, target))
        ]
        prediction = byol.predictor(byol.projector(pooled[0]))
        goal = byol.target_projector(pooled[1])
        expected += sum(distance(p, t) for p, t in zip(prediction, goal)) / N / 2
    assert byol(views, passes)["loss_byol"].item() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling", ["uniform", "grid"])
@pytest.mark.parametrize("norm, channels", [("", 6), ("BN", 6), ("BN", 20)])  # of 16 cells
def test_scrl_agrees_with_its_equations(aligned, sampling, norm, channels):
    options = ("MODEL.SCRL.ALIGNED", aligned, "MODEL.SCRL.BOX_SAMPLING", sampling)
    scrl = objective(SCRLObjective, *options, "MODEL.SSL.HEAD_NORM", norm, channels=channels)
    views, passes = make_views(1, {1: DISJOINT, 3: NARROW}), features(2, channels)
    expected = literal_scrl(scrl, views, passes, aligned) / 2  # the mean of both directions
    assert scrl(views, passes)["loss_scrl"].item() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("flipped", [(0,), (1,), (0, 1)])
def test_flipping_features_and_affine_together_changes_nothing(flipped):
    scrl, views, passes = objective(SCRLObjective), make_views(2), features(3)
    before = scrl(views, passes)["loss_scrl"]
    for v in flipped:
        mirrored = views[v].affine.clone()
        mirrored[:, 0], mirrored[:, 1] = -mirrored[:, 0], SIDE - mirrored[:, 1]
        views[v] = Views(views[v].images, mirrored, views[v].seeds)
        for maps in passes.maps:
            maps[v] = maps[v].flip(-1)
    after = scrl(views, passes)["loss_scrl"]
    assert after.item() == pytest.approx(before.item(), abs=1e-10)
    passes.maps[0][0] = passes.maps[0][0].flip(-1)  # the features alone: another loss
    assert scrl(views, passes)["loss_scrl"].item() != pytest.approx(after.item(), abs=1e-3)


@pytest.mark.parametrize("kind", [BYOLObjective, SCRLObjective])
def test_the_same_view_twice_costs_nothing(kind):
    made, views, passes = objective(kind), make_views(3), features(4)
    made.predictor = nn.Identity()
    made.target_projector.load_state_dict(made.projector.state_dict())
    same = GivenFeatures([passes.maps[0][0]] * 2, [passes.maps[0][0]] * 2)
    (loss,) = made([views[0]] * 2, same).values()
    assert loss.item() == pytest.approx(0, abs=1e-12)


def test_no_gradient_reaches_the_target_heads():
    for kind in (BYOLObjective, SCRLObjective):
        made, passes = objective(kind), features(5)
        (loss,) = made(make_views(), passes).values()
        loss.backward()
        assert all(x.grad is None for x in made.target_projector.parameters())
        heads = (made.projector, made.predictor)
        assert all(x.output.weight.grad.abs().sum() > 0 for x in heads)


def in_image(scrl, views):
    """The sampled boxes of both views in image pixels."""
    boxes, _ = scrl.sample(views)
    return [view.boxes_to_image(boxes[v]) for v, view in enumerate(views)]


def test_boxes_of_the_two_views_are_the_same_part_of_the_image():
    for sampling in ("uniform", "grid"):
        scrl = objective(SCRLObjective, "MODEL.SCRL.BOX_SAMPLING", sampling)
        first, second = in_image(scrl, make_views())
        assert torch.allclose(first, second, atol=1e-9)
    assert not torch.allclose(first, in_image(objective(SCRLObjective), make_views())[0], atol=1)


def test_jitter_moves_the_boxes_of_each_view_a_little():
    first, second = in_image(objective(SCRLObjective, "MODEL.SCRL.BOX_JITTER", 0.1), make_views())
    exact, _ = in_image(objective(SCRLObjective), make_views())
    sides = (exact[..., 2:] - exact[..., :2]).repeat(1, 1, 2)
    for moved in (first, second):  # position 10 %, sides another 10 %
        assert 0 < ((moved - exact).abs() / sides).max() <= 0.2 + 1e-9
    assert (first - second).abs().amax(-1).min() > 1e-3


@pytest.mark.parametrize("amount, views, expected", [
    (0.1, (1,), 0.804), (0.2, (1,), 0.660),  # measured with the authors' code
    (0.1, (0, 1), 0.744), (0.2, (0, 1), 0.566),
])  # fmt: skip
def test_how_far_jitter_takes_boxes_apart(amount, views, expected):
    """Mean IoU in the image of the boxes of a pair, on crops of 20 to 100 % of photos."""
    rng, count, side = np.random.default_rng(0), 400, 224
    affine = [
        crop_affine(draw_crop(rng, 500, 375, (0.2, 1), (3 / 4, 4 / 3)), side, rng.random() < 0.5)
        for _ in range(2 * count)
    ]
    affine = torch.from_numpy(np.stack(affine)).view(2, count, 4)
    pair = [Views(torch.zeros(count, 1, side, side), x, torch.arange(count)) for x in affine]
    options = ("MODEL.SCRL.BOX_JITTER", amount, "MODEL.SCRL.BOX_JITTER_VIEWS", views)
    scrl = objective(SCRLObjective, *options, "MODEL.SCRL.BOX_SAMPLING", "grid",
                     "MODEL.SCRL.NUM_BOXES", 10, "MODEL.SCRL.MIN_BOX_SIZE", 32)  # fmt: skip
    boxes, usable = scrl.sample(pair)
    moved = [x.boxes_to_image(boxes[v])[usable].flatten(0, 1)[:, None] for v, x in enumerate(pair)]
    assert box_ops.pairwise_iou(*moved).mean().item() == pytest.approx(expected, abs=0.006)
    scrl.jitter = 0.0
    exact, _ = scrl.sample(pair)
    assert [torch.equal(boxes[v], exact[v]) for v in (0, 1)] == [v not in views for v in (0, 1)]


def test_negative_jitter_draws_unrelated_boxes():
    scrl = objective(SCRLObjective, "MODEL.SCRL.BOX_JITTER", -1.0)
    first, second = in_image(scrl, make_views())
    exact, _ = in_image(objective(SCRLObjective), make_views())
    assert torch.allclose(first, exact)
    assert (first - second).abs().amax(-1).median() > 5


def test_number_of_boxes_and_their_smallest_side():
    assert objective(SCRLObjective, "MODEL.SCRL.MIN_BOX_SIZE", 0).min_box_size == STRIDE
    scrl = objective(SCRLObjective, "MODEL.SCRL.MIN_BOX_SIZE", 30, "MODEL.SCRL.NUM_BOXES", 7)
    boxes, usable = scrl.sample(make_views())
    assert boxes[0].shape == boxes[1].shape == (N, 7, 4) and usable.any()
    for drawn in boxes.values():
        assert (drawn[usable][..., 2:] - drawn[usable][..., :2]).min() >= 30 - 1e-6


@pytest.mark.parametrize("kind, key, value", [
    (SCRLObjective, "SCRL.BOX_SAMPLING", "random"), (SCRLObjective, "SCRL.IN_FEATURE", "p9"),
    (SCRLObjective, "SCRL.BOX_JITTER_VIEWS", (2,)), (SCRLObjective, "SCRL.NUM_BOXES", 0),
    (SCRLObjective, "SCRL.MAX_TRIES", 0),
    (BYOLObjective, "BYOL.IN_FEATURE", "res9"),
])  # fmt: skip
def test_unknown_options_name_their_key(kind, key, value):
    with pytest.raises(ValueError, match=f"MODEL.{key}"):
        objective(kind, f"MODEL.{key}", value)
