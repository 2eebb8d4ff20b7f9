"""Self-EMD: its heads, its marginals and what its keys do, on maps that are given."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from helpers import (
    CONFIGS,
    TINY,
    base_config,
    build_trainer,
    load_config,
    random_batch,
    tiny_config,
)
from oracles import DISJOINT, SIDE, MapsOfViews, N, make_views

from dense_ssl.modeling.methods import SelfEMDObjective
from dense_ssl.structures import Views

C, CELLS = MapsOfViews.channels, MapsOfViews.cells
BRANCH = ("projector", "target_projector", "predictor")


def objective(*options):
    """An objective in double precision whose target heads are not its online heads."""
    torch.manual_seed(0)
    options = [f"MODEL.SELF_EMD.{x}" if i % 2 == 0 else x for i, x in enumerate(options)]
    cfg = base_config(*TINY, "INPUT.VIEWS.NUM", 3, *options)
    made = SelfEMDObjective(cfg, {"res5": ShapeSpec(channels=C, stride=SIDE // 8)}).double()
    with torch.no_grad():
        for x in made.target_projector.parameters():
            x.add_(0.1 * torch.randn_like(x))
    return made


def three_views(seed=0, shifts=()):
    """Two views of one size and a third of half of it."""
    views = make_views(seed, shifts)
    small = views[0].images[:, :, : SIDE // 2, : SIDE // 2]
    return [*views, Views(small, views[0].affine / 2, views[0].seeds)]


def outputs(emd, passes):
    """Predictions of the first view and projections of the second one by the target."""
    online = emd._predict({0: passes.online(0)["res5"]}, passes)[0]
    with torch.no_grad():
        return online, emd._project(emd.target_projector, {1: passes.target(1)["res5"]}, passes)[1]


def masses(emd, passes):
    """Weights of the cells of the first and of the second view."""
    online, target = outputs(emd, passes)
    nodes = [emd.transport.levels(x["map"])[0] for x in (online, target)]
    return emd.transport.masses(*nodes, online, target)


def test_the_pyramid_of_seven_cells_has_83_nodes():
    emd = objective()
    large, small = (torch.zeros(2, 8, x, x) for x in (7, 4))
    assert [x.shape[1] for x in emd.transport.levels(large)] == [49, 25, 9]
    assert [x.shape[1] for x in emd.transport.levels(small)] == [16]


def test_normalised_nodes_weigh_by_direction():
    plain, unit = (objective("NORMALIZE_NODES", x).transport for x in (False, True))
    x, y, v = torch.rand(2, 3, 4), torch.rand(2, 5, 4), {"vector": torch.rand(2, 4)}
    assert torch.allclose(unit.masses(x, y, v, v)[0], unit.masses(5 * x, y, v, v)[0], atol=1e-6)
    grown = x * torch.tensor([1.0, 5.0, 1.0])[None, :, None]
    a, b = (z.masses(grown, y, v, v)[0] for z in (plain, unit))
    assert (a[:, 1] > b[:, 1]).all()


def negate(emd):
    """Turn every output of the vector branch, online and target, into its opposite."""
    with torch.no_grad():
        for name in BRANCH:
            getattr(emd, name)["vector"].output.weight.neg_()
        emd.predictor["vector"].hidden.weight.neg_()


def gradients(emd, passes):
    """The losses, and the gradients of the vector branch up to their signs."""
    losses = emd(three_views(), passes)
    emd.zero_grad()
    sum(losses.values()).backward()
    heads = emd.projector["vector"], emd.predictor["vector"]
    return losses, [x.grad.abs() for head in heads for x in head.parameters()]


def test_nothing_tells_the_vectors_of_separate_heads_from_their_opposites():
    emd, passes = objective("SHARED_HEAD", False), MapsOfViews(7)
    losses, taught = gradients(emd, passes)
    weights = masses(emd, passes)
    negate(emd)
    original = objective("SHARED_HEAD", False)
    assert outputs(emd, passes)[0]["vector"].allclose(-outputs(original, passes)[0]["vector"])
    after, taught_after = gradients(emd, passes)
    # what trains the vectors is the same for both ...
    assert losses["loss_vector"].item() == pytest.approx(after["loss_vector"].item(), abs=1e-12)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(taught, taught_after))
    # ... but the cells that weighed something now weigh nothing
    for before, now in zip(weights, masses(emd, passes)):
        assert ((before > 0.01) & (now > 0.01)).sum() == 0
        assert ((before > 0.01).sum(dim=1) > 0).all()


def test_the_vectors_of_a_shared_head_turn_with_the_cells():
    emd, passes = objective("SHARED_HEAD", True), MapsOfViews(7)
    losses, _ = gradients(emd, passes)
    weights = masses(emd, passes)
    negate(emd)
    after, _ = gradients(emd, passes)
    assert all(losses[k].item() == pytest.approx(after[k].item(), abs=1e-12) for k in losses)
    assert all(torch.allclose(a, b) for a, b in zip(weights, masses(emd, passes)))


def test_a_shared_head_is_one_head_with_a_batch_for_each_branch():
    shared, separate = (objective("SHARED_HEAD", x) for x in (True, False))
    counts = [sum(x.numel() for x in emd.parameters()) for emd in (shared, separate)]
    assert 2 * counts[0] == counts[1]
    for name in BRANCH:
        assert getattr(shared, name)["map"] is getattr(shared, name)["vector"]
    with torch.no_grad():
        for name in BRANCH:
            for branch in ("map", "vector"):
                getattr(separate, name)[branch].load_state_dict(
                    getattr(shared, name)["map"].state_dict()
                )
    # batch norm of the cells does not see the vectors: the branches run as if they were apart
    passes = MapsOfViews(8)
    losses = [emd(three_views(), passes) for emd in (shared, separate)]
    assert all(losses[0][k].item() == pytest.approx(losses[1][k].item()) for k in losses[0])


@pytest.mark.parametrize("shared", [False, True])
def test_heads_are_joined_by_the_size_of_the_views(shared):
    emd = objective("SHARED_HEAD", shared)
    passes, sizes = MapsOfViews(9, concatenate=True, views=three_views()), []
    for head in set(emd.projector.values()):
        head.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    joined = emd(three_views(), passes)
    # the vectors and the cells of two views together, those of the small view alone
    assert sorted(sizes) == [N, 2 * N, 16 * N, 2 * CELLS**2 * N]
    alone = emd(three_views(), MapsOfViews(9))
    assert joined["loss_emd"].item() != pytest.approx(alone["loss_emd"].item(), abs=1e-6)


def test_the_gradient_through_the_plan_is_a_choice():
    found = []
    for differentiate in (False, True):
        emd = objective("DIFFERENTIATE_PLAN", differentiate, "SHARED_HEAD", False)
        emd(three_views(), MapsOfViews(3))["loss_emd"].backward()
        found.append(emd.projector["map"].output.weight.grad.clone())
        # detached marginals teach the vector branch nothing
        taught = emd.projector["vector"].output.weight.grad
        assert differentiate == (taught is not None and taught.abs().sum() > 0)
    assert not torch.allclose(*found)


def test_self_emd_does_not_ask_where_views_lie():
    emd, passes = objective(), MapsOfViews(4)
    apart = three_views(1, dict.fromkeys(range(N), DISJOINT))
    assert emd(three_views(0), passes)["loss_emd"] == emd(apart, passes)["loss_emd"]


def test_flipping_a_map_does_not_matter_to_transport():
    emd, passes = objective(), MapsOfViews(5)
    before = emd(three_views(), passes)["loss_emd"]
    passes.maps[1][1] = passes.maps[1][1].flip(-1)
    assert emd(three_views(), passes)["loss_emd"].item() == pytest.approx(before.item(), abs=1e-9)


@pytest.mark.parametrize("key, value", [
    ("MARGINALS", "max"), ("PYRAMID", "all"), ("NUM_VIEWS", 1), ("IN_FEATURE", "p9"),
])  # fmt: skip
def test_unknown_options_name_their_key(key, value):
    with pytest.raises(ValueError, match=f"MODEL.SELF_EMD.{key}"):
        objective(key, value)


def test_vectors_that_nothing_trains_are_refused():
    with pytest.raises(ValueError, match="VECTOR_LOSS_WEIGHT"):
        objective("VECTOR_LOSS_WEIGHT", 0.0, "SHARED_HEAD", False)


@pytest.mark.parametrize("key", ["SHARED_HEAD", "DIFFERENTIATE_PLAN"])
def test_vectors_without_a_loss_of_their_own_are_trained_by_the_transport(key):
    emd = objective("VECTOR_LOSS_WEIGHT", 0.0, "SHARED_HEAD", False, key, True)
    losses = emd(three_views(), MapsOfViews(6))
    assert set(losses) == {"loss_emd"}
    losses["loss_emd"].backward()
    for head in (emd.projector, emd.predictor):
        assert head["vector"].output.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("marginals", ["mean", "uniform"])
def test_other_marginals_need_no_vector_branch(marginals):
    emd = objective("MARGINALS", marginals, "VECTOR_LOSS_WEIGHT", 0.0)
    assert set(emd.projector) == set(emd.predictor) == {"map"}
    assert set(emd(three_views(), MapsOfViews(2))) == {"loss_emd"}


@pytest.mark.parametrize("shared", [False, True])
def test_pictures_do_not_move_batch_statistics(shared):
    states = []
    for period in (0, 1):
        torch.manual_seed(0)
        options = ("VIS_PERIOD", period, "MODEL.SELF_EMD.SHARED_HEAD", shared)
        model = build_model(tiny_config("SelfEMD", "unused", "unused", *options))
        with EventStorage(0) as storage, torch.autocast("cpu", torch.bfloat16):
            model(random_batch(3, views=3, sizes=(64, 64, 32)))
            kinds = [name.split("/")[0] for name, _, _ in storage._vis_data]
        assert kinds == ["transport"] * period
        states.append(model.objectives.state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


@pytest.mark.parametrize("count", [2, 3])
def test_the_third_view_is_left_out_by_one_key(count, image_folder, tmp_path):
    cfg = load_config(CONFIGS / "pretrain" / "self_emd_R_50_coco.yaml")
    cfg.merge_from_list([
        *TINY, "INPUT.VIEWS.SIZE", (64, 64, 32), "MODEL.SELF_EMD.NUM_VIEWS", count,
        "DATASETS.TRAIN", (f"folder:{image_folder}",), "OUTPUT_DIR", str(tmp_path),
    ])  # fmt: skip
    trainer = build_trainer(cfg)
    assert len(next(iter(trainer.data_loader))["views"]) == trainer.model.num_views == count
    trainer.train()
    assert {"loss_emd", "loss_vector"} <= set(trainer.storage.latest())
