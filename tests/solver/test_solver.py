"""Epochs, schedules and optimizers."""

import copy
import math

import pytest
import torch
from detectron2.solver import build_optimizer as build_d2_optimizer
from helpers import base_config
from torch import nn

from dense_ssl.config.lengths import prefer_stated_iterations
from dense_ssl.engine import Trainer
from dense_ssl.solver import base_lr, build_lr_scheduler, build_optimizer, resolve_epochs


def epochs(images, *options):
    """(MAX_ITER, WARMUP_ITERS, CHECKPOINT_PERIOD) of a config."""
    cfg = base_config(*options)
    resolve_epochs(cfg, images)
    return cfg.SOLVER.MAX_ITER, cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.CHECKPOINT_PERIOD


def test_epochs_become_iterations():
    options = ("SOLVER.IMS_PER_BATCH", 256, "SOLVER.EPOCHS", 800, "SOLVER.WARMUP_EPOCHS", 4,
               "SOLVER.CHECKPOINT_EPOCHS", 10)  # fmt: skip
    assert epochs(118287, *options) == (369647, 1848, 4621)
    assert epochs(256, *options) == (800, 4, 10)


def test_epochs_of_0_leave_the_iterations_alone():
    options = ("SOLVER.MAX_ITER", 700, "SOLVER.WARMUP_ITERS", 30, "SOLVER.CHECKPOINT_PERIOD", 9)
    assert epochs(1000, *options) == (700, 30, 9)
    assert epochs(1000, *options, "SOLVER.IMS_PER_BATCH", 10, "SOLVER.EPOCHS", 3) == (300, 30, 9)


def test_less_than_an_iteration_is_one():
    options = ("SOLVER.IMS_PER_BATCH", 64, "SOLVER.EPOCHS", 20, "SOLVER.WARMUP_EPOCHS", 1,
               "SOLVER.CHECKPOINT_EPOCHS", 1)  # fmt: skip
    assert epochs(8, *options) == (2, 1, 1)


@pytest.mark.parametrize("key", ["EPOCHS", "WARMUP_EPOCHS", "CHECKPOINT_EPOCHS"])
def test_negative_epochs_name_their_key(key):
    with pytest.raises(ValueError, match=f"SOLVER.{key} is -1"):
        epochs(1000, f"SOLVER.{key}", -1)


@pytest.mark.parametrize("warmup", [5, 6])  # a warm-up alone is no schedule
def test_a_warm_up_as_long_as_the_run_names_its_keys(warmup):
    with pytest.raises(ValueError, match="SOLVER.WARMUP_EPOCHS or SOLVER.WARMUP_ITERS"):
        epochs(1000, "SOLVER.EPOCHS", 5, "SOLVER.WARMUP_EPOCHS", warmup)


def resolved(images, *options):
    """SOLVER and TEST of a config after resolve_epochs."""
    cfg = base_config(*options)
    resolve_epochs(cfg, images)
    return cfg.SOLVER, cfg.TEST


DETECTOR = ("SOLVER.IMS_PER_BATCH", 10, "SOLVER.MAX_ITER", 90000, "SOLVER.STEPS", (60000, 80000),
            "SOLVER.WARMUP_ITERS", 1000)  # fmt: skip


def test_the_schedule_of_a_detector_in_epochs_keeps_its_shape():
    solver, test = resolved(3000, *DETECTOR, "SOLVER.EPOCHS", 30, "TEST.EVAL_EPOCHS", 2)
    assert (solver.MAX_ITER, solver.STEPS, solver.WARMUP_ITERS) == (9000, (6000, 8000), 1000)
    assert test.EVAL_PERIOD == 600
    again, _ = resolved(3000, *DETECTOR, "SOLVER.EPOCHS", 30, "SOLVER.STEPS", solver.STEPS,
                        "SOLVER.MAX_ITER", solver.MAX_ITER)  # fmt: skip
    assert again.STEPS == solver.STEPS  # as from the config.yaml of the run


def test_without_epochs_a_detectors_schedule_stays():
    solver, test = resolved(3000, *DETECTOR, "SOLVER.MAX_ITER", 20)
    assert (solver.MAX_ITER, solver.STEPS, solver.WARMUP_ITERS) == (20, (60000, 80000), 1000)
    assert test.EVAL_PERIOD == 0


@pytest.mark.parametrize("epochs, warmup", [(3, 90), (4, 1000)])
def test_a_warm_up_that_would_take_a_run_in_epochs_takes_a_tenth_of_it(epochs, warmup):
    solver, _ = resolved(3000, *DETECTOR, "SOLVER.EPOCHS", epochs)
    assert solver.WARMUP_ITERS == warmup


def test_the_rate_falls_at_shares_of_the_run():
    solver, _ = resolved(300, *DETECTOR, "SOLVER.EPOCHS", 10, "SOLVER.STEP_SHARES", (0.5, 0.9))
    assert solver.STEPS == (150, 270)
    solver, _ = resolved(300, *DETECTOR, "SOLVER.MAX_ITER", 200, "SOLVER.STEP_SHARES", (0.8,))
    assert solver.STEPS == (160,)
    # a handful of iterations: what detectron2's schedule takes
    cfg = base_config(*DETECTOR, "SOLVER.EPOCHS", 1, "SOLVER.WARMUP_ITERS", 0)
    resolve_epochs(cfg, 20)
    assert cfg.SOLVER.MAX_ITER == 2 and cfg.SOLVER.STEPS == (1,)
    build_lr_scheduler(cfg, torch.optim.SGD(network().parameters(), lr=0.1))


@pytest.mark.parametrize("shares", [(0.9, 0.5), (0.0,), (1.0,), (0.5, 0.5), (0.5, 60000)])
def test_shares_that_make_no_schedule_name_the_key(shares):
    with pytest.raises(ValueError, match="SOLVER.STEP_SHARES is"):
        resolved(300, "SOLVER.STEP_SHARES", shares)


def test_negative_epochs_of_evaluation_name_their_key():
    with pytest.raises(ValueError, match="TEST.EVAL_EPOCHS is -1"):
        resolved(300, "TEST.EVAL_EPOCHS", -1)


def rates(*options):
    """The learning rate of every iteration, and the one set after the last."""
    cfg = base_config("SOLVER.LR_SCHEDULER_NAME", "LinearWarmupCosine", "SOLVER.BASE_LR", 0.4,
                      "SOLVER.WARMUP_FACTOR", 0.0, *options)  # fmt: skip
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.4)
    scheduler = build_lr_scheduler(cfg, optimizer)
    result = []
    for _ in range(cfg.SOLVER.MAX_ITER):
        result.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return [*result, optimizer.param_groups[0]["lr"]]


def test_linear_warm_up_then_a_whole_half_cosine():
    got = rates("SOLVER.MAX_ITER", 110, "SOLVER.WARMUP_ITERS", 10)
    assert got[0] == 0
    for i in range(10):
        assert got[i] == pytest.approx(0.4 * i / 10)
    for i in range(10, 111):
        assert got[i] == pytest.approx(0.4 * (1 + math.cos(math.pi * (i - 10) / 100)) / 2, abs=1e-9)
    assert got[10] == pytest.approx(0.4) and got[60] == pytest.approx(0.2)
    assert got[109] == pytest.approx(1e-4, abs=1e-5)
    assert got[110] == pytest.approx(0, abs=1e-9)  # set after the last step, without an error


def test_without_warm_up_the_cosine_starts_at_once():
    got = rates("SOLVER.MAX_ITER", 40, "SOLVER.WARMUP_ITERS", 0)
    for i in range(41):
        assert got[i] == pytest.approx(0.4 * (1 + math.cos(math.pi * i / 40)) / 2, abs=1e-9)


def test_start_and_end_of_the_schedule_may_be_above_zero():
    got = rates("SOLVER.MAX_ITER", 50, "SOLVER.WARMUP_ITERS", 5, "SOLVER.WARMUP_FACTOR", 0.1,
                "SOLVER.BASE_LR_END", 0.04)  # fmt: skip
    assert got[0] == pytest.approx(0.04) and got[5] == pytest.approx(0.4)
    assert got[50] == pytest.approx(0.04)


@pytest.mark.parametrize("warmup, length", [(1, 3), (7, 23), (1848, 4000), (313, 31278)])
def test_any_warm_up_ends_at_the_base_rate(warmup, length):
    cfg = base_config("SOLVER.LR_SCHEDULER_NAME", "LinearWarmupCosine",
                      "SOLVER.MAX_ITER", length, "SOLVER.WARMUP_ITERS", warmup,
                      "SOLVER.WARMUP_FACTOR", 0.0)  # fmt: skip
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), 1.0)
    scheduler = build_lr_scheduler(cfg, optimizer)
    for iteration, expected in ((warmup - 1, 1 - 1 / warmup), (warmup, 1.0), (length, 0.0)):
        scheduler.last_epoch = iteration
        assert scheduler.get_lr()[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("decays", [1, 3, 7])
@pytest.mark.parametrize("length", [16, 40])
def test_a_schedule_by_a_fixed_gamma_lasts_to_its_end(decays, length):
    """detectron2's own raises an IndexError after the last step."""
    cfg = base_config("SOLVER.LR_SCHEDULER_NAME", "WarmupStepWithFixedGammaLR",
                      "SOLVER.NUM_DECAYS", decays, "SOLVER.GAMMA", 0.5, "SOLVER.BASE_LR", 1.0,
                      "SOLVER.MAX_ITER", length, "SOLVER.WARMUP_ITERS", 0)  # fmt: skip
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), cfg.SOLVER.BASE_LR)
    scheduler, rates = build_lr_scheduler(cfg, optimizer), []
    for _ in range(length):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == [0.5 ** ((decays + 1) * i // length) for i in range(length)]
    assert optimizer.param_groups[0]["lr"] == rates[-1]


def test_a_reference_world_size_scales_the_rate_once():
    options = ("SOLVER.IMS_PER_BATCH", 32, "SOLVER.BASE_LR", 0.4, "SOLVER.MAX_ITER", 10,
               "SOLVER.REFERENCE_WORLD_SIZE", 4)  # fmt: skip
    for batch, stated, used in ((8, 0.4, 0.4), (0, 0.1, 0.1)):
        cfg = base_config(*options, "SOLVER.BASE_LR_BATCH", batch)
        scaled = Trainer.auto_scale_workers(cfg, 1)
        assert scaled.SOLVER.IMS_PER_BATCH == 8
        assert (scaled.SOLVER.BASE_LR, base_lr(scaled)) == pytest.approx((stated, used))
        assert Trainer.auto_scale_workers(cfg, 4) == cfg


def test_stated_steps_come_before_shares():
    pairs = prefer_stated_iterations(["SOLVER.STEPS", (4,), "SOLVER.MAX_ITER", 5])
    assert dict(zip(pairs[::2], pairs[1::2]))["SOLVER.STEP_SHARES"] == ()
    pairs = prefer_stated_iterations(["SOLVER.STEPS", (4,), "SOLVER.STEP_SHARES", (0.5,)])
    assert pairs.count("SOLVER.STEP_SHARES") == 1


def test_other_schedules_are_detectron2s():
    got = rates("SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", "SOLVER.MAX_ITER", 30,
                "SOLVER.STEPS", (20,), "SOLVER.WARMUP_ITERS", 0)  # fmt: skip
    assert got[19] == pytest.approx(0.4) and got[20] == pytest.approx(0.04)


def test_the_rate_scales_with_the_batch_where_asked():
    options = ("SOLVER.BASE_LR", 0.45, "SOLVER.IMS_PER_BATCH", 8192)
    assert base_lr(base_config(*options)) == 0.45
    scaled = base_config(*options, "SOLVER.BASE_LR_BATCH", 256)
    assert base_lr(scaled) == pytest.approx(14.4)
    for name in ("SGD", "LARS", "AdamW"):
        scaled.SOLVER.OPTIMIZER = name
        groups = build_optimizer(scaled, network()).param_groups
        assert all(x["lr"] == pytest.approx(14.4) for x in groups)
    assert scaled.SOLVER.BASE_LR == 0.45  # the config stays as it is


def network():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5), nn.Linear(5, 2)
    ).double()
    model[4].weight.requires_grad_(False)
    return model


def literal_lars(values, gradients, buffers, rate, coefficient, decay, momentum):
    """One step on lists of float64 arrays, one parameter after the other."""
    for i, (w, g) in enumerate(zip(values, gradients)):
        if w.dim() > 1:  # neither biases nor norms
            w_norm, g_norm = math.sqrt((w * w).sum()), math.sqrt((g * g).sum())
            trust = coefficient * w_norm / (g_norm + decay * w_norm)
            g = trust * (g + decay * w)
        buffers[i] = g if buffers[i] is None else momentum * buffers[i] + g
        values[i] = w - rate * buffers[i]


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_lars_agrees_with_a_literal_reimplementation(decay):
    cfg = base_config("SOLVER.OPTIMIZER", "LARS", "SOLVER.BASE_LR", 0.7, "SOLVER.MOMENTUM", 0.8,
                      "SOLVER.WEIGHT_DECAY", decay, "SOLVER.TRUST_COEFFICIENT", 0.02)  # fmt: skip
    model = network()
    frozen = model[4].weight.clone()
    optimizer = build_optimizer(cfg, model)
    parameters = [x for x in model.parameters() if x.requires_grad]
    values, buffers = [x.detach().clone() for x in parameters], [None] * len(parameters)
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        for x in parameters:
            x.grad = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        gradients = [x.grad.clone() for x in parameters]
        optimizer.step()
        literal_lars(values, gradients, buffers, 0.7, 0.02, decay, 0.8)
        for got, expected in zip(parameters, values):
            assert torch.allclose(got, expected, rtol=1e-6, atol=1e-9)
    assert torch.equal(model[4].weight, frozen)


@pytest.mark.parametrize("name", ["LARS", "AdamW"])
def test_biases_and_norms_do_not_decay(name):
    cfg = base_config("SOLVER.OPTIMIZER", name, "SOLVER.WEIGHT_DECAY", 0.05,
                      "SOLVER.BETAS", (0.8, 0.9))  # fmt: skip
    model = network()
    optimizer = build_optimizer(cfg, model)
    weights, vectors = optimizer.param_groups
    assert (weights["weight_decay"], vectors["weight_decay"]) == (0.05, 0)
    ids = [{id(x) for x in group["params"]} for group in optimizer.param_groups]
    assert ids[0] == {id(model[0].weight), id(model[3].weight)}
    assert ids[1] == {id(x) for x in (model[0].bias, *model[1].parameters(), model[3].bias,
                                     model[4].bias)}  # fmt: skip
    if name == "AdamW":
        assert isinstance(optimizer, torch.optim.AdamW) and weights["betas"] == (0.8, 0.9)


@pytest.mark.parametrize("schedule", ["LinearWarmupCosine", "WarmupPolyLR", "WarmupMultiStepLR"])
def test_a_learning_rate_of_0_names_the_key(schedule):
    cfg = base_config("SOLVER.BASE_LR", 0.0, "SOLVER.LR_SCHEDULER_NAME", schedule)
    with pytest.raises(ValueError, match="SOLVER.BASE_LR is 0"):
        build_lr_scheduler(cfg, torch.optim.SGD(network().parameters(), lr=0.1))


def test_an_unknown_optimizer_names_the_key():
    with pytest.raises(ValueError, match="SOLVER.OPTIMIZER is 'Adam'.*'SGD', 'LARS', 'AdamW'"):
        build_optimizer(base_config("SOLVER.OPTIMIZER", "Adam"), network())


def test_sgd_is_detectron2s():
    cfg = base_config("SOLVER.WEIGHT_DECAY", 0.1, "SOLVER.WEIGHT_DECAY_NORM", 0.01,
                      "SOLVER.BIAS_LR_FACTOR", 2.0, "SOLVER.NESTEROV", True)  # fmt: skip
    models = network(), network()
    optimizers = build_optimizer(cfg, models[0]), build_d2_optimizer(cfg, models[1])
    assert type(optimizers[0]) is type(optimizers[1])
    for ours, theirs in zip(*(x.param_groups for x in optimizers)):
        for key in ("lr", "weight_decay", "momentum", "nesterov", "dampening"):
            assert ours[key] == theirs[key]
    assert len({x["weight_decay"] for x in optimizers[0].param_groups}) == 2
    for step in range(3):
        for model, optimizer in zip(models, optimizers):
            generator = torch.Generator().manual_seed(step)
            for x in model.parameters():
                x.grad = torch.randn(x.shape, generator=generator, dtype=x.dtype)
            optimizer.step()
        assert all(map(torch.equal, *(x.parameters() for x in models)))


@pytest.mark.parametrize("name", ["SGD", "LARS", "AdamW"])
def test_gradients_are_clipped_where_asked(name):
    options = ("SOLVER.OPTIMIZER", name, "SOLVER.BASE_LR", 0.1, "SOLVER.CLIP_GRADIENTS.ENABLED",
               True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "value",
               "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.5)  # fmt: skip
    model = network()
    optimizer = build_optimizer(base_config(*options), model)
    start = copy.deepcopy(model)
    for x in model.parameters():
        x.grad = torch.full_like(x, 100.0)
    optimizer.step()
    assert all(x.grad.max() <= 0.5 for x in model.parameters() if x.requires_grad)
    assert not torch.equal(model[0].weight, start[0].weight)


# Powers of what is left


def test_poly_goes_from_the_base_to_the_end():
    options = ("SOLVER.LR_SCHEDULER_NAME", "WarmupPolyLR", "SOLVER.MAX_ITER", 50)
    got = rates(*options, "SOLVER.WARMUP_ITERS", 0, "SOLVER.BASE_LR_END", 0.004)
    # mmsegmentation's: (base - end) * (1 - i / max) ** power + end
    for i, rate in enumerate(got):
        assert rate == pytest.approx((0.4 - 0.004) * (1 - i / 50) ** 0.9 + 0.004)
    assert got[0] == 0.4 and got[50] == pytest.approx(0.004)


def test_poly_with_warm_up_equals_deeplabs():
    from detectron2.projects.deeplab.lr_scheduler import WarmupPolyLR

    options = ("SOLVER.LR_SCHEDULER_NAME", "WarmupPolyLR", "SOLVER.MAX_ITER", 50)
    got = rates(*options, "SOLVER.WARMUP_ITERS", 10, "SOLVER.POLY_LR_POWER", 2.0)
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.4)
    theirs = WarmupPolyLR(optimizer, 50, warmup_factor=0.0, warmup_iters=10, power=2.0)
    for i in range(50):
        if i >= 10:
            assert got[i] == pytest.approx(optimizer.param_groups[0]["lr"])
        else:  # a straight line here, a product with the power there
            assert got[i] == pytest.approx(0.4 * 0.64 * i / 10)
        optimizer.step()
        theirs.step()
