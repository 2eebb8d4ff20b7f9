"""The estimate of a step's memory against what torch allocates."""

import time

import pytest
import torch
from detectron2.utils.events import EventStorage
from helpers import (
    CONFIGS,
    METHODS,
    batch_for,
    build_trainer,
    load_config,
    random_batch,
    tiny_config,
)
from torch.profiler import ProfilerActivity, profile

from dense_ssl.engine import Trainer
from dense_ssl.engine.memory import estimate_memory
from dense_ssl.solver import build_optimizer

WIDE = ("MODEL.RESNETS.RES2_OUT_CHANNELS", 64, "SOLVER.IMS_PER_BATCH", 16)


def peak_of_a_step(model, batch):
    """Bytes that torch holds at the peak of a step: weights, optimizer and what the step adds."""
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    with EventStorage():
        sum(model(batch).values()).backward()
        optimizer.step()
        optimizer.zero_grad()
        model.after_step(0.99)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            sum(model(batch).values()).backward()
    events = [x for x in profiler.profiler.kineto_results.events() if x.name() == "[memory]"]
    held, peak = 0, 0
    for event in sorted(events, key=lambda x: x.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    states = optimizer.state.values()
    fixed = [*model.parameters(), *model.buffers(), *(x["momentum_buffer"] for x in states)]
    return peak + sum(x.nbytes for x in fixed)


@pytest.mark.parametrize("method", ["SCRL", "MoCoV2", "DUPR", "PointRegionContrast", "LCLoss"])
def test_the_estimate_is_near_the_measured_peak(image_folder, tmp_path, method):
    model = Trainer.build_model(tiny_config(method, image_folder, tmp_path, *WIDE)).train()
    state = {k: x.clone() for k, x in model.state_dict().items()}
    memory = estimate_memory(model, batch_for(method, 2), 16)
    assert all(torch.equal(x, state[k]) for k, x in model.state_dict().items())
    measured = peak_of_a_step(model, batch_for(method, 16))
    assert memory.per_image * 16 > 0.5 * measured  # weights are known, the rest is estimated
    assert memory.total == pytest.approx(measured, rel=0.25)


@pytest.mark.parametrize("method", ["MoCoV2", "SCRL"])
def test_checkpointed_blocks_count_while_they_run_again(image_folder, tmp_path, method):
    options = ("SOLVER.IMS_PER_BATCH", 16, "MODEL.RESNETS.DEPTH", 50,
               "MODEL.RESNETS.RES2_OUT_CHANNELS", 256,
               "MODEL.SSL.CHECKPOINT_ACTIVATIONS", True)  # fmt: skip
    model = Trainer.build_model(tiny_config(method, image_folder, tmp_path, *options)).train()
    memory = estimate_memory(model, batch_for(method, 2), 16)
    measured = peak_of_a_step(model, batch_for(method, 16)) - memory.fixed
    assert memory.per_image * 16 == pytest.approx(measured, rel=0.15)


def test_activation_checkpointing_needs_less_than_half(image_folder, tmp_path):
    peaks = {}
    for value in (False, True):
        options = (*WIDE, "MODEL.SSL.CHECKPOINT_ACTIVATIONS", value)
        model = Trainer.build_model(tiny_config("MoCoV2", image_folder, tmp_path, *options)).train()
        memory = estimate_memory(model, batch_for("MoCoV2", 2), 16)
        measured = peak_of_a_step(model, batch_for("MoCoV2", 16))
        assert memory.total == pytest.approx(measured, rel=0.25)
        peaks[value] = measured - memory.fixed
    assert peaks[True] < 0.5 * peaks[False]


def test_it_costs_little_and_leaves_the_random_numbers():
    cfg = load_config(CONFIGS / "pretrain/moco_v2_R_50_coco.yaml")
    cfg.merge_from_list(["MODEL.RESNETS.NORM", "BN", "MODEL.SSL.HEAD_NORM", "BN"])
    model = Trainer.build_model(cfg).train()
    batch, state = random_batch(2, 224), torch.get_rng_state()
    start = time.process_time()
    memory = estimate_memory(model, batch, 1)
    assert time.process_time() - start < 4  # below 1 s where nothing else runs
    assert torch.equal(torch.get_rng_state(), state)
    # every convolution of a ResNet-50 keeps its input and its output: 22 million float32
    assert 80e6 < memory.per_image < 95e6


def test_half_precision_needs_less_and_adamw_more(image_folder, tmp_path):
    model = Trainer.build_model(tiny_config("BYOL", image_folder, tmp_path, *WIDE)).train()
    batch = batch_for("BYOL", 2)
    full = estimate_memory(model, batch, 4)
    half = estimate_memory(model, batch, 4, precision=torch.bfloat16)
    assert 0.4 < half.per_image / full.per_image < 0.7
    trained = sum(x.nbytes for x in model.parameters() if x.requires_grad)
    assert estimate_memory(model, batch, 4, "AdamW").fixed == full.fixed + trained
    assert full.images == 4 and full.total == full.fixed + 4 * full.per_image


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_estimated(pretrain_config, method):
    from dense_ssl.engine.guards import CheckStart

    trainer = build_trainer(pretrain_config(method))
    hook = CheckStart()
    hook.trainer = trainer
    assert hook._memory().per_image > 1e5


def test_the_optimizers_of_the_config_are_known(image_folder, tmp_path):
    model = Trainer.build_model(tiny_config("BYOL", image_folder, tmp_path)).train()
    for name, copies in (("SGD", 1), ("AdamW", 2)):
        cfg = tiny_config("BYOL", image_folder, tmp_path, "SOLVER.OPTIMIZER", name)
        optimizer = build_optimizer(cfg, model)
        for x in model.parameters():
            x.grad = torch.zeros_like(x) if x.requires_grad else None
        optimizer.step()
        kept = sum(y.nbytes for s in optimizer.state.values() for y in s.values()
                   if isinstance(y, torch.Tensor) and y.dim())  # fmt: skip
        trained = sum(x.nbytes for x in model.parameters() if x.requires_grad)
        assert kept == pytest.approx(copies * trained, rel=0.01)
