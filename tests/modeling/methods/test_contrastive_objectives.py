"""MoCo v2, DUPR and point-level region contrast against loops over their equations."""

import copy
import math

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from helpers import TINY, base_config, needs, random_batch, tiny_config
from oracles import DISJOINT, NARROW, SIDE, GivenPasses, N, literal_align, literal_box, make_views
from torch.nn import functional as F

from dense_ssl.modeling.geometry import boxes as box_ops
from dense_ssl.modeling.methods import DUPRObjective, MoCoObjective, PointRegionObjective
from dense_ssl.structures import Views

SHAPES = {
    "res4": ShapeSpec(channels=5, stride=16), "res5": ShapeSpec(channels=6, stride=32),
}  # fmt: skip
LEVELS = ("MODEL.DUPR.IN_FEATURES", ("res4", "res5"), "MODEL.DUPR.ALPHA", (0.5, 1.0),
          "MODEL.DUPR.BETA", (0.25, 2.0), "MODEL.DUPR.ROI_SIZE", (3, 2))  # fmt: skip


class GivenFeatures(GivenPasses):
    """The feature maps of the online and of the target encoder are given."""

    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.maps = [
            [
                {
                    name: torch.randn(
                        N, x.channels, SIDE // x.stride, SIDE // x.stride,
                        generator=generator, dtype=torch.float64,
                    )
                    for name, x in SHAPES.items()
                }
                for _ in range(2)
            ]
            for _ in range(2)
        ]  # fmt: skip

    def online(self, view):
        return self.maps[0][view]

    def target(self, view):
        return self.maps[1][view]

    def map(self, change):
        """A copy with ``change(role, view, map)`` in place of each map."""
        other = copy.copy(self)
        other.maps = [
            [{k: change(role, view, x) for k, x in maps.items()} for view, maps in enumerate(both)]
            for role, both in enumerate(self.maps)
        ]
        return other


def objective(kind, *options):
    """An objective in double precision whose target heads are not its online heads."""
    torch.manual_seed(0)
    made = kind(base_config(*TINY, *options), SHAPES).double()
    with torch.no_grad():
        for _, target in made.momentum_pairs():
            for x in target.parameters():
                x.add_(0.1 * torch.randn_like(x))
    return made


def literal_nce(query, key, queue, temperature):
    """Eq. 1 of MoCo / Eq. 5 of DUPR for one pair."""
    q, k = F.normalize(query, dim=0), F.normalize(key, dim=0)
    goal = math.exp((q @ k).item() / temperature)
    others = sum(math.exp((q @ n).item() / temperature) for n in F.normalize(queue.double(), dim=1))
    return -math.log(goal / (goal + others))


def image_vectors(head, feature_map):
    return head(feature_map.mean(dim=(2, 3)))


@pytest.mark.parametrize("symmetric", [False, True])
def test_moco_agrees_with_its_equation(symmetric):
    moco = objective(MoCoObjective, "MODEL.MOCO.SYMMETRIC", symmetric)
    passes, views = GivenFeatures(1), make_views()
    queue = moco.contrast.bank.keys
    expected, directions = 0, ((0, 1), (1, 0)) if symmetric else ((0, 1),)
    for online, target in directions:
        query = image_vectors(moco.projector, passes.online(online)["res5"])
        key = image_vectors(moco.target_projector, passes.target(target)["res5"])
        losses = [literal_nce(q, k, queue, 0.2) for q, k in zip(query, key)]
        expected += sum(losses) / N / len(directions)
    assert moco(views, passes)["loss_moco"].item() == pytest.approx(expected, abs=1e-10)
    moco.contrast.bank.advance()
    assert moco.contrast.bank.enqueued == N * len(directions)
    newest = moco.contrast.bank.keys[:N]
    first = image_vectors(moco.target_projector, passes.target(1)["res5"])
    assert torch.allclose(newest, F.normalize(first, dim=1), atol=1e-6)


def test_moco_asks_for_the_passes_it_needs():
    assert objective(MoCoObjective).online_views == (0,)
    assert objective(MoCoObjective).target_views == (1,)
    symmetric = objective(MoCoObjective, "MODEL.MOCO.SYMMETRIC", True)
    assert set(symmetric.online_views) == set(symmetric.target_views) == {0, 1}


def test_moco_can_average_after_the_head():
    moco = objective(MoCoObjective, "MODEL.MOCO.POOL_AFTER_HEAD", True)
    passes = GivenFeatures(1)
    got = moco._embed(moco.projector, passes.online(0))
    cells = passes.online(0)["res5"]
    expected = sum(moco.projector(cells[:, :, y, x]) for y in range(2) for x in range(2)) / 4
    assert torch.allclose(got, expected)


def literal_dupr(dupr, views, passes, aligned=True):
    """Eq. 2, 5 and 6; patches are cut in the image, so a flip needs no thought."""
    region, smallest = views[0].overlap(views[1]), box_ops.smallest_box(*views, 32)
    usable = [
        all(region[i, 2 + a] - region[i, a] > smallest[i, a] for a in (0, 1)) for i in range(N)
    ]
    losses = {}
    for name, alpha, beta, size in (("res4", 0.5, 0.25, 3), ("res5", 1.0, 2.0, 2)):
        query = image_vectors(dupr.head[f"image_{name}"], passes.online(0)[name])
        key = image_vectors(dupr.target_head[f"image_{name}"], passes.target(1)[name])
        queue = dupr.contrast[f"image_{name}"].bank.keys
        losses[f"loss_image_{name}"] = (
            alpha * sum(literal_nce(q, k, queue, 0.2) for q, k in zip(query, key)) / N
        )
        queue = dupr.contrast[f"patch_{name}"].bank.keys
        terms = []
        for i in range(N):
            if not usable[i]:
                continue
            x1, y1, x2, y2 = region[i].tolist()
            for row in range(size):
                for column in range(size):
                    cell = (
                        x1 + (x2 - x1) * column / size, y1 + (y2 - y1) * row / size,
                        x1 + (x2 - x1) * (column + 1) / size, y1 + (y2 - y1) * (row + 1) / size,
                    )  # fmt: skip
                    vectors = [
                        head(patch_of_map(maps[name][i], view, i, cell, SHAPES[name].stride)[None])[
                            0
                        ]
                        for head, maps, view in (
                            (dupr.head[f"patch_{name}"], passes.online(0), views[0]),
                            (dupr.target_head[f"patch_{name}"], passes.target(1), views[1]),
                        )
                    ]
                    terms.append(literal_nce(*vectors, queue, 0.2))
        losses[f"loss_patch_{name}"] = beta * sum(terms) / max(len(terms), 1)
    return losses, usable


def patch_of_map(feature_map, view, row, cell, stride):
    """One RoIAlign bin of a part of the image. With 1 x 1 bins it is a RoIAlign of that part."""
    return literal_align(feature_map, literal_box(view, row, cell), True, stride)


def test_dupr_agrees_with_its_equations():
    dupr = objective(DUPRObjective, *LEVELS)
    views, passes = make_views(1, {1: DISJOINT, 3: NARROW}), GivenFeatures(2)
    expected, usable = literal_dupr(dupr, views, passes)
    got = dupr(views, passes)
    assert got.keys() == expected.keys() and 0 < sum(usable) < N
    for name, loss in expected.items():
        assert got[name].item() == pytest.approx(loss, abs=1e-9), name
    for contrast in dupr.contrast.values():
        contrast.bank.advance()
    # every image enters the image queues, usable ones alone the patch queues
    assert dupr.contrast["image_res5"].bank.enqueued == N
    assert dupr.contrast["patch_res5"].bank.enqueued == 3 * sum(usable)


@pytest.mark.parametrize("view", [0, 1])
def test_dupr_unflips_before_pairing(view):
    dupr, views, passes = objective(DUPRObjective, *LEVELS), make_views(2), GivenFeatures(3)
    before = dupr(views, passes)
    mirrored = views[view].affine.clone()
    mirrored[:, 0], mirrored[:, 1] = -mirrored[:, 0], SIDE - mirrored[:, 1]
    views[view] = Views(views[view].images, mirrored, views[view].seeds)
    flipped = passes.map(lambda role, v, x: x.flip(-1) if v == view else x)
    after = dupr(views, flipped)
    for name, loss in before.items():
        assert after[name].item() == pytest.approx(loss.item(), abs=1e-10)
    # the maps alone: another loss
    assert dupr(views, passes)["loss_patch_res4"].item() != pytest.approx(
        before["loss_patch_res4"].item(), abs=1e-3
    )


def test_dupr_identical_views_give_exactly_matched_patches():
    dupr, views, passes = objective(DUPRObjective, *LEVELS), make_views(4), GivenFeatures(5)
    same = passes.map(lambda role, v, x: passes.maps[0][0]["res4" if x.shape[1] == 5 else "res5"])
    dupr.target_head.load_state_dict(dupr.head.state_dict())
    mirrored = views[0].affine.clone()
    mirrored[:, 0], mirrored[:, 1] = -mirrored[:, 0], SIDE - mirrored[:, 1]
    other = Views(views[0].images, mirrored, views[0].seeds)
    turned = same.map(lambda role, v, x: x.flip(-1) if v == 1 else x)
    for second, maps in ((views[0], same), (other, turned)):
        with EventStorage(19) as storage:
            dupr([views[0], second], maps)
        assert storage.latest()["dupr/patch_res4/positive_similarity"][0] == pytest.approx(1)


def test_dupr_order_of_images_does_not_matter():
    dupr, views, passes = (
        objective(DUPRObjective, *LEVELS),
        make_views(1, {2: NARROW}),
        GivenFeatures(6),
    )
    order = torch.tensor([3, 0, 4, 1, 2])
    moved = [Views(x.images[order], x.affine[order], x.seeds[order]) for x in views]
    a, b = dupr(views, passes), dupr(moved, passes.map(lambda role, v, x: x[order]))
    for name in a:
        assert a[name].item() == pytest.approx(b[name].item(), abs=1e-12)


@pytest.mark.parametrize("alpha, beta, branches", [
    ((0.0, 1.0), (0.0, 0.0), {"image_res5"}), ((0.0, 0.0), (0.0, 1.0), {"patch_res5"}),
    ((1.0, 0.0), (0.0, 1.0), {"image_res4", "patch_res5"}),
])  # fmt: skip
def test_dupr_builds_nothing_for_a_weight_of_zero(alpha, beta, branches):
    options = (*LEVELS, "MODEL.DUPR.ALPHA", alpha, "MODEL.DUPR.BETA", beta)
    dupr = objective(DUPRObjective, *options)
    assert set(dupr.head) == set(dupr.contrast) == set(dupr.target_head) == branches
    losses = dupr(make_views(), GivenFeatures(7))
    assert set(losses) == {f"loss_{x}" for x in branches}


@pytest.mark.parametrize("weight, unbuilt", [("ALPHA", "QUEUE_SIZE"), ("BETA", "PATCH_QUEUE_SIZE")])
def test_dupr_does_not_ask_for_images_to_fill_queues_that_it_does_not_build(weight, unbuilt):
    cfg = base_config(f"MODEL.DUPR.{weight}", (0.0,) * 4, "MODEL.DUPR.QUEUE_SIZE", 100,
                      "MODEL.DUPR.PATCH_QUEUE_SIZE", 100)  # fmt: skip
    cfg.MODEL.DUPR[unbuilt] = 10**6
    DUPRObjective.resolve(cfg, 1000)
    cfg.MODEL.DUPR[weight] = (0.0, 0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match=unbuilt):
        DUPRObjective.resolve(cfg, 1000)


def test_dupr_without_any_overlap_trains_on():
    dupr = objective(DUPRObjective, *LEVELS)
    losses = dupr(make_views(0, dict.fromkeys(range(N), DISJOINT)), GivenFeatures(8))
    assert losses["loss_patch_res5"].item() == 0 and losses["loss_image_res5"].item() > 0
    sum(losses.values()).backward()
    assert all(torch.isfinite(x.grad).all() for x in dupr.head.parameters())
    for contrast in dupr.contrast.values():
        contrast.bank.advance()
    assert dupr.contrast["patch_res4"].bank.enqueued == 0


def points(*options):
    return objective(PointRegionObjective, *options)


@pytest.mark.parametrize("option, names", [
    (("LEVEL", "region"), {"loss_point_contrast", "loss_point_affinity"}),
    (("PAIRED_POINTS", True), {"loss_point_contrast", "loss_point_affinity"}),
    # points that each view draws by itself are others after a flip; pairs are not
    (("GRID", 4), {"loss_point_affinity"}),
])  # fmt: skip
def test_point_region_flipping_features_and_affine_together_changes_nothing(option, names):
    # at the border of a cell a flip may round to the other side: views whose cells do not meet it
    made = points("MODEL.PLRC.RESOLUTION", 8, f"MODEL.PLRC.{option[0]}", option[1])
    views, passes = make_views(2), GivenFeatures(3)
    before = made(views, passes)
    mirrored = views[1].affine.clone()
    mirrored[:, 0], mirrored[:, 1] = -mirrored[:, 0], SIDE - mirrored[:, 1]
    views[1] = Views(views[1].images, mirrored, views[1].seeds)
    after = made(views, passes.map(lambda role, v, x: x.flip(-1) if v == 1 else x))
    same = {x for x in before if after[x].item() == pytest.approx(before[x].item(), abs=1e-10)}
    assert same == names


def test_point_region_identical_views_find_their_points():
    made, passes = points("MODEL.PLRC.PAIRED_POINTS", True), GivenFeatures(4)
    view = make_views(3)[0]
    made.target_projector.load_state_dict(made.projector.state_dict())
    same = passes.map(lambda role, v, x: passes.maps[0][0]["res4" if x.shape[1] == 5 else "res5"])
    with EventStorage(19) as storage:
        losses = made([view, view], same)
        assert storage.latest()["plrc/overlap_rate"][0] == 1
        assert storage.latest()["plrc/top1"][0] > 0.9
    # student and teacher differ in temperature alone
    swapped = points("MODEL.PLRC.PAIRED_POINTS", True, "MODEL.PLRC.STUDENT_TEMPERATURE", 0.07)
    swapped.load_state_dict(made.state_dict())
    assert swapped([view, view], same)["loss_point_affinity"] < losses["loss_point_affinity"]


def test_point_region_order_of_images_does_not_matter():
    made, views, passes = points(), make_views(1, {2: DISJOINT}), GivenFeatures(6)
    order = torch.tensor([3, 0, 4, 1, 2])
    moved = [Views(x.images[order], x.affine[order], x.seeds[order]) for x in views]
    whole = torch.tensor([[200.0, 150.0]]).expand(N, 2)
    for x in (*views, *moved):
        x.image_size = whole
    a, b = made(views, passes), made(moved, passes.map(lambda role, v, x: x[order]))
    for name in a:
        assert a[name].item() == pytest.approx(b[name].item(), abs=1e-12)


@pytest.mark.parametrize("strategy, targets", [(1, {1}), (2, {1}), (3, {0, 1})])
def test_strategies_of_distillation_ask_for_the_passes_they_need(strategy, targets):
    made = points("MODEL.PLRC.STRATEGY", strategy)
    assert set(made.target_views) == targets and made.online_views == (0,)


def test_a_teacher_that_is_not_yet_asked_needs_no_pass():
    made = points("MODEL.PLRC.STRATEGY", 3, "MODEL.PLRC.WARMUP_ITERS", 50)
    with EventStorage(49):
        assert made.target_views == (1,)
    with EventStorage(50):
        assert made.target_views == (0, 1)


@pytest.mark.parametrize("options, pairs", [
    ((), True), (("MODEL.PLRC.ALPHA", 1.0), False), (("MODEL.PLRC.LEVEL", "region"), False),
    (("MODEL.PLRC.PAIRED_POINTS", True), False), (("MODEL.PLRC.WARMUP_ITERS", 50), False),
])  # fmt: skip
def test_pairs_are_drawn_where_distillation_needs_them_alone(options, pairs, monkeypatch):
    made, samples = points(*options), []
    draw = made.sampler.sample
    monkeypatch.setattr(
        made.sampler, "sample", lambda *x, **y: samples.append(draw(*x, **y)) or samples[-1]
    )
    with EventStorage(19) as storage:
        made(make_views(2), GivenFeatures(5))
        assert ("plrc/paired_rate" in storage.latest()) == pairs
    assert (samples[0].pairs is not None) == pairs


def test_the_log_says_how_many_regions_have_pairs():
    made, views = points("MODEL.PLRC.GRID", 1), make_views(2, {1: DISJOINT})
    for x in views:  # of the one region the second pair of views shares no place
        x.image_size = torch.tensor([[400.0, 150.0]]).expand(N, 2)
    with EventStorage(19) as storage:
        losses = made(views, GivenFeatures(5))
        assert storage.latest()["plrc/overlap_rate"][0] == 1
        assert storage.latest()["plrc/paired_rate"][0] == pytest.approx(1 - 1 / N)
    assert all(x.item() > 0 for x in losses.values())


def test_warm_up_of_the_distillation():
    views, passes = make_views(2), GivenFeatures(5)
    for mode in ("off", "teacher_temp"):
        options = ("MODEL.PLRC.WARMUP_ITERS", 10, "MODEL.PLRC.WARMUP_MODE", mode)
        made = points(*options)
        after = made(views, passes)  # outside of training: as after the warm-up
        for iteration in (0, 5, 10):
            with EventStorage(iteration):
                losses = made(views, passes)
            contrast, affinity = (losses.get(f"loss_point_{x}") for x in ("contrast", "affinity"))
            if iteration == 10:
                assert affinity.item() == after["loss_point_affinity"].item()
            elif mode == "off":
                assert affinity is None  # alpha is 1
                assert contrast.item() == pytest.approx(2 * after["loss_point_contrast"].item())
            else:
                assert made.distillation.teacher_temperature == pytest.approx(0.07)
                with EventStorage(iteration):
                    temperature = made.distillation.teacher_temperature
                assert temperature == pytest.approx(0.04 + 0.03 * iteration / 10)
                assert affinity.item() != after["loss_point_affinity"].item()


def test_warm_up_epochs_become_iterations():
    cfg = base_config(*TINY, "MODEL.PLRC.WARMUP_EPOCHS", 3, "SOLVER.IMS_PER_BATCH", 8)
    PointRegionObjective.resolve(cfg, 100)
    assert cfg.MODEL.PLRC.WARMUP_ITERS == 38


def test_point_region_without_common_regions_trains_on():
    made = points()
    losses = made(make_views(0, dict.fromkeys(range(N), DISJOINT)), GivenFeatures(8))
    assert all(x.item() == 0 for x in losses.values())
    sum(losses.values()).backward()
    assert all(torch.isfinite(x.grad).all() for x in made.projector.parameters())


@pytest.mark.parametrize("kind, key, value", [
    (MoCoObjective, "MOCO.IN_FEATURE", "p9"), (DUPRObjective, "DUPR.IN_FEATURES", ("p9",) * 4),
    (DUPRObjective, "DUPR.ALPHA", (1.0,)), (DUPRObjective, "DUPR.BETA", (1.0, 1.0)),
    (DUPRObjective, "DUPR.ROI_SIZE", (1, 1, 1, 1)), (DUPRObjective, "DUPR.ALPHA", (-1.0,) * 4),
    (PointRegionObjective, "PLRC.LEVEL", "pixel"), (PointRegionObjective, "PLRC.STRATEGY", 4),
    (PointRegionObjective, "PLRC.NEGATIVES", "none"), (PointRegionObjective, "PLRC.GRID", 0),
    (PointRegionObjective, "PLRC.WARMUP_MODE", "on"), (PointRegionObjective, "PLRC.ALPHA", 1.5),
    (PointRegionObjective, "PLRC.IN_FEATURE", "p9"),
])  # fmt: skip
def test_unknown_options_name_their_key(kind, key, value):
    with pytest.raises(ValueError, match=f"MODEL.{key}"):
        objective(kind, f"MODEL.{key}", value)


def test_strategies_need_negatives_that_are_at_hand():
    with pytest.raises(ValueError, match="MODEL.PLRC.STRATEGY 2"):
        points("MODEL.PLRC.STRATEGY", 2, "MODEL.PLRC.NEGATIVES", "all")


def build(method, *options):
    torch.manual_seed(0)
    return build_model(tiny_config(method, "unused", "unused", *options))


@pytest.mark.parametrize("method", ["MoCoV2", "DUPR", "PointRegionContrast"])
def test_no_gradient_reaches_the_targets(method):
    model = build(method)
    sum(model(random_batch(4)).values()).backward()
    targets = [x for name, x in model.named_parameters() if "target" in name]
    assert targets and all(x.grad is None and not x.requires_grad for x in targets)
    assert model.backbone.stem.conv1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("beta, names", [
    (0.7, {"loss_point_contrast", "loss_point_affinity", "loss_moco"}),
    (1.0, {"loss_point_contrast", "loss_point_affinity"}), (0.0, {"loss_moco"}),
])  # fmt: skip
def test_beta_weighs_points_against_images(beta, names):
    whole, batch = build("PointRegionContrast"), random_batch(4)
    model = build("PointRegionContrast", "MODEL.PLRC.BETA", beta)
    model.load_state_dict(whole.state_dict(), strict=False)
    losses, reference = model(batch), whole(batch)
    assert set(losses) == names
    for name in names:
        share = (1 - beta) / 0.3 if name == "loss_moco" else beta / 0.7
        assert losses[name].item() == pytest.approx(share * reference[name].item(), rel=1e-5)


def test_a_shared_head_is_one_head():
    options = ("MODEL.PLRC.SHARED_HEAD", True, "MODEL.MOCO.POOL_AFTER_HEAD", True)
    model = build("PointRegionContrast", *options)
    moco, region = (model.objectives[x] for x in ("MoCoObjective", "PointRegionObjective"))
    assert region.projector is moco.projector and region.target_projector is moco.target_projector
    before = [x.clone() for x in moco.target_projector.parameters()]
    with torch.no_grad():
        for x in moco.projector.parameters():
            x.add_(1)
    model.update_target(0.9)  # once, not once per owner
    for old, new in zip(before, moco.target_projector.parameters()):
        assert torch.allclose(new, old + 0.1, atol=1e-6)
    assert len({id(x) for x in model.parameters()}) == len(list(model.parameters()))
    with pytest.raises(ValueError, match="POOL_AFTER_HEAD"):
        build("PointRegionContrast", "MODEL.PLRC.SHARED_HEAD", True)
    with pytest.raises(ValueError, match="OUT_DIM"):
        build("PointRegionContrast", *options, "MODEL.PLRC.OUT_DIM", 4)


def test_the_contrastive_family_on_an_fpn():
    pyramid = (
        "MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone", "MODEL.FPN.OUT_CHANNELS", 8,
        *needs("DUPR"), "MODEL.FPN.IN_FEATURES", ["res2", "res3", "res4", "res5"],
        "MODEL.DUPR.IN_FEATURES", ("p2", "p3", "p4", "p5"), "MODEL.PLRC.IN_FEATURE", "p3",
        "MODEL.MOCO.IN_FEATURE", "p5",
    )  # fmt: skip
    for method in ("MoCoV2", "DUPR", "PointRegionContrast"):
        losses = build(method, *pyramid)(random_batch(4))
        assert all(torch.isfinite(x) for x in losses.values())


def test_pictures():
    for method, kinds in (
        ("MoCoV2", {"views"}), ("DUPR", {"views"}), ("PointRegionContrast", {"views", "affinity"}),
    ):  # fmt: skip
        model = build(method, "VIS_PERIOD", 1)
        with EventStorage(0) as storage, torch.autocast("cpu", torch.bfloat16):
            model(random_batch(3))
            names = {name.split("/")[0] for name, _, _ in storage._vis_data}
        assert names == kinds
