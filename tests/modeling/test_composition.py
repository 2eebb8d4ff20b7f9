"""Any objectives together: the named methods as special cases, levels, shared passes, refusals."""

import copy

import pytest
import torch
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from helpers import CONFIGS, METHODS, TINY, batch_for, load_config, needs, random_batch, tiny_config

from dense_ssl.modeling import passes as passes_module
from dense_ssl.modeling.composition import weights_of
from dense_ssl.modeling.methods.dense_cl import most_alike

PYRAMID = (
    "MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone", "MODEL.FPN.OUT_CHANNELS", 8,
    *needs("DUPR"), "MODEL.FPN.IN_FEATURES", ["res2", "res3", "res4", "res5"],
)  # fmt: skip
WHOLE = ("INPUT.VIEWS.NUM", 3, "INPUT.VIEWS.CROP", ("random", "random", "whole"),
         "INPUT.VIEWS.FLIP_PROB", (0.5, 0.5, 0.0), "INPUT.VIEWS.BLUR_PROB", (0.5,),
         "INPUT.VIEWS.SOLARIZE_PROB", (0.2,))  # fmt: skip


def build(method, *options):
    torch.manual_seed(0)
    return build_model(tiny_config(method, "unused", "unused", *options))


def compose(*entries, weights=(), options=()):
    return build("MultiObjective", "MODEL.SSL.OBJECTIVES", entries,
                 "MODEL.SSL.OBJECTIVE_WEIGHTS", weights, *options)  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_a_named_method_is_a_composition(method):
    options = tuple(needs(method))
    cfg = tiny_config(method, "unused", "unused")
    weights = weights_of(META_ARCH_REGISTRY.get(method), cfg)
    named = build(method)
    composed = compose(*weights, weights=tuple(weights.values()), options=options)
    batch = batch_for(method)
    a, b = named(batch), composed(batch)
    assert {k: x.item() for k, x in a.items()} == {k: x.item() for k, x in b.items()}
    for x in (a, b):
        sum(x.values()).backward()
    ours = dict(composed.named_parameters())
    for name, parameter in named.named_parameters():
        assert (parameter.grad is None) == (ours[name].grad is None)
        assert parameter.grad is None or torch.equal(parameter.grad, ours[name].grad)


@pytest.mark.parametrize("entries, online, target", [
    (("BYOLObjective", "SCRLObjective"), 2, 2), (("MoCoObjective", "DUPRObjective"), 1, 1),
    (("MoCoObjective", "LCObjective"), 2, 2), (("SCRLObjective", "LCObjective"), 2, 3),
    (("DUPRObjective", "LCObjective"), 2, 2), (("BYOLObjective", "LCObjective"), 2, 3),
    (("PointRegionObjective", "SCRLObjective", "BoxContrastObjective"), 2, 2),
])  # fmt: skip
def test_objectives_share_passes_and_take_the_union_of_views(monkeypatch, entries, online, target):
    one_direction = ("MODEL.LC_LOSS.SYMMETRIC", False)
    model = compose(*entries, options=(*needs("DUPR"), *WHOLE, *one_direction))
    calls = {id(model.backbone): 0, id(model.target_backbone): 0}
    original = passes_module.extract_features

    def count(backbone, images):
        calls[id(backbone)] += 1
        return original(backbone, images)

    monkeypatch.setattr(passes_module, "extract_features", count)
    losses = model(random_batch(4, views=3))
    assert list(calls.values()) == [online, target]
    assert len(losses) >= len(entries) and all(torch.isfinite(x) for x in losses.values())


@pytest.mark.parametrize("path", sorted((CONFIGS / "pretrain" / "compose").glob("*.yaml")),
                         ids=lambda x: x.stem)  # fmt: skip
def test_every_objective_of_a_ready_yaml_trains(path):
    cfg = load_config(path)
    cfg.merge_from_list([*TINY, "MODEL.FPN.NORM", "BN", "MODEL.FPN.OUT_CHANNELS", 8])
    model = build_model(cfg)
    losses = model(random_batch(4, views=cfg.INPUT.VIEWS.NUM))
    assert all(torch.isfinite(x) and x > 0 for x in losses.values())
    sum(losses.values()).backward()
    for part in (model.backbone, *model.objectives.values()):
        gradients = [x.grad.abs().sum() for x in part.parameters() if x.grad is not None]
        assert gradients and torch.isfinite(sum(gradients)) and sum(gradients) > 0


def test_an_objective_on_several_levels():
    entries = ("SCRLObjective@p2", "SCRLObjective@p4", "BYOLObjective@res5", "SCRLObjective")
    weights = (0.5, 1.0, 1.0, 2.0)
    model = compose(*entries, weights=weights, options=(*PYRAMID, "MODEL.SCRL.MIN_BOX_SIZE", 0))
    losses = model(random_batch(4))
    assert set(losses) == {"loss_scrl_p2", "loss_scrl_p4", "loss_byol_res5", "loss_scrl"}
    assert model.objectives["SCRLObjective@p2"].min_box_size == 4
    assert model.objectives["SCRLObjective@p4"].min_box_size == 16
    assert model.objectives["SCRLObjective@p4"].label == "scrl_p4"
    sum(losses.values()).backward()
    assert model.backbone.fpn_output2.weight.grad.abs().sum() > 0


def test_weights_scale_the_losses_of_their_objective():
    entries, batch = ("BYOLObjective", "SCRLObjective"), random_batch(4)
    plain, heavy = compose(*entries), compose(*entries, weights=(1.0, 3.0))
    a, b = plain(batch), heavy(batch)
    assert b["loss_scrl"].item() == pytest.approx(3 * a["loss_scrl"].item())
    assert b["loss_byol"].item() == pytest.approx(a["loss_byol"].item())


@pytest.mark.parametrize("entries, options, message", [
    ((), (), "MODEL.SSL.OBJECTIVES is empty"),
    (("SwAVObjective",), (), "MODEL.SSL.OBJECTIVES"),
    (("SCRLObjective", "SCRLObjective"), (), "MODEL.SSL.OBJECTIVES"),
    (("SCRLObjective@p3",), (), "MODEL.SSL.OBJECTIVES has 'SCRLObjective@p3'.*res5"),
    (("SCRLObjective@", "SCRLObjective"), (), "MODEL.SSL.OBJECTIVES"),
    (("SelfEMDObjective", "LCObjective"), WHOLE, "MODEL.LC_LOSS.WHOLE_VIEW 3"),
    (("PointRegionObjective", "MoCoObjective"), ("MODEL.PLRC.SHARED_HEAD", True),
     "MODEL.MOCO.POOL_AFTER_HEAD"),
    (("LCObjective",), (*WHOLE, "INPUT.VIEWS.SIZE", (60,)), "INPUT.VIEWS.SIZE is 60.*make it 64"),
    (("DUPRObjective@res4",), needs("DUPR"), "MODEL.DUPR.IN_FEATURES"),
    (("LCObjective",), (), "INPUT.VIEWS.NUM"),
    (("SelfEMDObjective",), (), "INPUT.VIEWS.NUM"),
    (("LCObjective",), ("INPUT.VIEWS.NUM", 3), "INPUT.VIEWS.CROP"),
])  # fmt: skip
def test_a_wrong_combination_is_refused_when_the_model_is_built(entries, options, message):
    with pytest.raises(ValueError, match=message):
        compose(*entries, options=tuple(options))


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="MODEL.SSL.OBJECTIVE_WEIGHTS has 2 entries"):
        compose("BYOLObjective", weights=(1.0, 2.0))
    for weights in ((-1.0, 1.0), (0.0, 0.0)):
        with pytest.raises(ValueError, match="MODEL.SSL.OBJECTIVE_WEIGHTS.*negative"):
            compose("BYOLObjective", "SCRLObjective", weights=weights)


def test_an_objective_of_weight_0_is_not_built():
    model = compose("BYOLObjective", "SCRLObjective", weights=(1.0, 0.0))
    assert set(model.objectives) == {"BYOLObjective"}


@pytest.mark.parametrize("method, options, message", [
    ("SCRL", ("MODEL.SSL.OBJECTIVES", ("SCRLObjective", "LCObjective")), "'MultiObjective'"),
    ("LCLoss", ("MODEL.SSL.OBJECTIVE_WEIGHTS", (0.5, 0.5)), "MODEL.SSL.OBJECTIVE_WEIGHTS"),
    ("PointRegionContrast", ("MODEL.SSL.OBJECTIVE_WEIGHTS", (0.5, 0.5)), "OBJECTIVE_WEIGHTS"),
    ("LCLoss", ("MODEL.LC_LOSS.ALPHA", 1.5), "MODEL.LC_LOSS.ALPHA is 1.5"),
    ("LCLoss", ("MODEL.LC_LOSS.TEMPERATURE", 0.0), "MODEL.LC_LOSS.TEMPERATURE is 0"),
    ("MoCoV2", ("MODEL.MOCO.TEMPERATURE", 0.0), "MODEL.MOCO.TEMPERATURE is 0"),
    ("DUPR", ("MODEL.DUPR.TEMPERATURE", -0.1), "MODEL.DUPR.TEMPERATURE is -0.1"),
    ("PointRegionContrast", ("MODEL.PLRC.TEACHER_TEMPERATURE", 0.0), "TEACHER_TEMPERATURE is 0"),
])  # fmt: skip
def test_keys_that_would_do_nothing_or_harm_are_refused(method, options, message):
    with pytest.raises(ValueError, match=message):
        build(method, *options)


def test_losses_of_one_name_are_refused():
    model = compose("BYOLObjective", "SCRLObjective")
    model.objectives["SCRLObjective"] = model.objectives["BYOLObjective"]
    with pytest.raises(ValueError, match="both call a loss 'loss_byol'"):
        model(random_batch(4))


def test_self_emd_and_lc_loss_with_a_view_each():
    views = ("INPUT.VIEWS.NUM", 4, "INPUT.VIEWS.CROP", ("random", "random", "random", "whole"),
             "INPUT.VIEWS.FLIP_PROB", (0.5,), "INPUT.VIEWS.SIZE", (64, 64, 32, 64),
             "MODEL.LC_LOSS.WHOLE_VIEW", 3)  # fmt: skip
    model = compose("SelfEMDObjective", "LCObjective", options=views)
    losses = model(random_batch(4, views=4, sizes=(64, 64, 32, 64)))
    assert set(losses) == {"loss_emd", "loss_vector", "loss_local"}


@pytest.mark.parametrize("order", [1, -1])
def test_a_shared_queue_of_automatic_size_suits_all(order):
    entries = ("BoxContrastObjective", "MoCoObjective")[::order]
    cfg = tiny_config("MultiObjective", "unused", "unused", "MODEL.SSL.OBJECTIVES", entries,
                      "MODEL.MOCO.QUEUE_SIZE", 0)  # fmt: skip
    META_ARCH_REGISTRY.get("MultiObjective").resolve(cfg, 5000)
    assert cfg.MODEL.MOCO.QUEUE_SIZE == 2500


def test_a_composition_shares_heads_like_the_named_method():
    options = ("MODEL.PLRC.SHARED_HEAD", True, "MODEL.MOCO.POOL_AFTER_HEAD", True)
    model = compose("PointRegionObjective", "MoCoObjective", options=options)
    objectives = model.objectives
    assert objectives["PointRegionObjective"].projector is objectives["MoCoObjective"].projector


def test_boxes_with_negatives_agree_with_the_equation():
    from dense_ssl.losses import info_nce

    model = compose("BoxContrastObjective").double()
    made, batch = model.objectives["BoxContrastObjective"], random_batch(5)
    views = model.gather_views(batch)
    for view in views:
        view.images = view.images.double()
    passes = passes_module.Passes((model.backbone, model.target_backbone), views, (0, 1), (0, 1))
    boxes, usable = made.sample(views)
    expected, stored = 0, []
    for online, target in ((0, 1), (1, 0)):
        query = made.projector(made._pool(passes.online(online), boxes[online]))
        key = made.target_projector(made._pool(passes.target(target), boxes[target]))
        rows = usable.repeat_interleave(4)
        expected += info_nce(query[rows], key[rows], made.contrast.bank.keys, 0.2).item() / 2
        stored.append(key.view(5, 4, -1)[usable].flatten(0, 1))
    assert made(views, passes)["loss_box_contrast"].item() == pytest.approx(expected, abs=1e-10)
    made.contrast.bank.advance()
    assert made.contrast.bank.enqueued == len(torch.cat(stored))


def test_dense_cl_agrees_with_its_equation():
    """Eq. 2 and Eq. 4 of DenseCL as loops over cells."""
    model = build("DenseCL").double()
    dense = model.objectives["DenseCLObjective"]
    generator = torch.Generator().manual_seed(1)
    first, second = torch.randn(2, 3, 128, 2, 2, generator=generator, dtype=torch.float64)
    given = type("Given", (), {"online": lambda s, v: {"res5": first},
                               "target": lambda s, v: {"res5": second}})()  # fmt: skip
    queue = torch.nn.functional.normalize(dense.contrast.bank.keys.double(), dim=1)

    def unit(x):
        return x / x.norm()

    total = 0
    for i in range(3):
        cells = [[unit(m[i, :, y, x]) for y in range(2) for x in range(2)] for m in (first, second)]
        rows = [[m[i, :, y, x] for y in range(2) for x in range(2)] for m in (first, second)]
        keys = [unit(dense.target_projector(x[None])[0]) for x in rows[1]]
        for cell in range(4):
            match = max(range(4), key=lambda j: float(cells[0][cell] @ cells[1][j]))
            query = unit(dense.projector(rows[0][cell][None])[0])
            goal = torch.exp(query @ keys[match] / 0.2)
            others = torch.exp(queue @ query / 0.2).sum()
            total -= torch.log(goal / (goal + others)).item()
    views = model.gather_views(random_batch(3))
    assert dense(views, given)["loss_dense"].item() == pytest.approx(total / 12, abs=1e-10)
    dense.contrast.bank.advance()
    assert dense.contrast.bank.enqueued == 3  # one key per image: the mean over its cells
    projected = dense.target_projector(second.flatten(2).transpose(1, 2).flatten(0, 1))
    mean = torch.nn.functional.normalize(projected.view(3, 4, -1).mean(dim=1), dim=1)
    assert torch.allclose(dense.contrast.bank.keys[:3], mean, atol=1e-6)


def test_dense_cl_in_both_directions_is_the_mean_of_one_and_the_other():
    batch = random_batch(4)
    turned = [{**x, "views": x["views"][::-1]} for x in batch]
    one, both = build("DenseCL"), build("DenseCL", "MODEL.MOCO.SYMMETRIC", True)
    expected = (one(batch)["loss_dense"] + one(turned)["loss_dense"]) / 2
    assert both(batch)["loss_dense"].item() == pytest.approx(expected.item(), rel=1e-4)
    both.after_step(0.9)
    assert both.objectives["DenseCLObjective"].contrast.bank.enqueued == 8


def test_dense_cl_matches_what_looks_alike():
    first = torch.randn(2, 4, 8)
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(most_alike(first, 5 * first[:, order]), order.argsort().expand(2, -1))


def test_composition_resolves_every_objective():
    cfg = tiny_config("MultiObjective", "unused", "unused", "MODEL.SSL.OBJECTIVES",
                      ("MoCoObjective", "PointRegionObjective"), "MODEL.MOCO.QUEUE_SIZE", 0,
                      "MODEL.PLRC.WARMUP_EPOCHS", 2)  # fmt: skip
    META_ARCH_REGISTRY.get("MultiObjective").resolve(cfg, 100)
    assert cfg.MODEL.MOCO.QUEUE_SIZE == 50 and cfg.MODEL.PLRC.WARMUP_ITERS == 25


def test_targets_of_all_objectives_move():
    model = compose("BYOLObjective", "SCRLObjective@res5", options=())
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        for objective in model.objectives.values():
            objective.projector.output.weight.add_(1)
    model.update_target(0.5)
    for entry in model.objectives:
        name = f"objectives.{entry}.target_projector.output.weight"
        assert torch.allclose(model.state_dict()[name], before[name] + 0.5, atol=1e-6)
