"""Pre-training end to end on a tiny model: what a run writes, resume, accumulation, failures."""

import functools
import json
import os
import pickle

import pytest
import torch
from detectron2.engine import HookBase
from detectron2.modeling import build_model
from devices import DEVICES
from helpers import METHODS, Killed, batch_for, build_trainer, tiny_config, train

from dense_ssl.modeling import passes
from dense_ssl.utils import events


def load(folder, name="model_final.pth"):
    return torch.load(os.path.join(folder, name), weights_only=True)


def assert_equal_states(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


@pytest.fixture(scope="module")
def whole_run(image_folder, tmp_path_factory):
    """A function that returns the output folder of six iterations of a method, with pictures."""

    @functools.lru_cache(None)
    def run(method):
        cfg = tiny_config(method, image_folder, tmp_path_factory.mktemp(method), "VIS_PERIOD", 3)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(events, "LOG_PERIOD", 3)
            train(cfg)
        return cfg.OUTPUT_DIR

    return run


@pytest.mark.parametrize("method", METHODS)
def test_a_run_writes_what_it_should(whole_run, method):
    folder = whole_run(method)
    names = os.listdir(folder)
    for name in ("model_final.pth", "model_0000002.pth", "backbone.pkl", "metrics.json",
                 "last_checkpoint", "pictures"):  # fmt: skip
        assert name in names
    assert any(x.startswith("events.out.tfevents") for x in names)
    assert not [x for x in names if ".tmp" in x]
    assert any(x.endswith(".png") for x in os.listdir(os.path.join(folder, "pictures")))
    with open(os.path.join(folder, "metrics.json")) as file:
        last = [json.loads(x) for x in file][-1]
    loss, low, high = METHODS[method].loss
    spread, *shares = METHODS[method].log
    for key in (loss, "lr", "momentum", spread, "data_time"):
        assert key in last
    assert low < last[loss] < high
    for key in shares:
        assert 0 <= last[key] <= 1
    with open(os.path.join(folder, "backbone.pkl"), "rb") as file:
        exported = pickle.load(file)
    state = load(folder)["model"]
    for key, value in exported["model"].items():
        assert torch.equal(torch.from_numpy(value), state[f"backbone.{key}"])
    assert exported["dense_ssl"]["settings"]["INPUT.FORMAT"] == "RGB"


def assert_equal_checkpoints(a, b):
    assert_equal_states(a["model"], b["model"])
    momenta = [
        {k: x["momentum_buffer"] for k, x in y["trainer"]["_trainer"]["optimizer"]["state"].items()}
        for y in (a, b)
    ]
    assert_equal_states(*momenta)


@pytest.mark.parametrize("method", METHODS)
def test_pictures_and_an_interruption_change_nothing(whole_run, pretrain_config, method):
    broken = pretrain_config(method)  # draws nothing
    train(broken, kill_at=4)
    name = "model_0000002.pth"  # the last checkpoint, of iteration 3
    assert_equal_checkpoints(load(whole_run(method), name), load(broken.OUTPUT_DIR, name))
    assert train(broken, resume=True).start_iter == 3
    assert_equal_checkpoints(load(whole_run(method)), load(broken.OUTPUT_DIR))


@pytest.mark.parametrize("method", ["SCRL", "MoCoV2"])
def test_resume_with_accumulation_and_workers(pretrain_config, tmp_path, method):
    options = ("SOLVER.ACCUMULATE", 2, "DATALOADER.NUM_WORKERS", 2)
    whole = train(pretrain_config(method, *options, "OUTPUT_DIR", str(tmp_path / "whole")))
    broken = pretrain_config(method, *options, "OUTPUT_DIR", str(tmp_path / "broken"))
    train(broken, kill_at=4)
    assert train(broken, resume=True).start_iter == 3
    assert_equal_checkpoints(load(whole.cfg.OUTPUT_DIR), load(broken.OUTPUT_DIR))


def test_resume_takes_over_a_drawn_seed(pretrain_config):
    cfg = pretrain_config("BYOL", "SEED", -1)
    first = train(cfg, kill_at=4)
    second = build_trainer(cfg)
    second.resume_or_load(resume=True)
    assert second.seed == first.seed
    assert second.data_loader.batch_sampler.seed == first.seed
    assert second.data_loader.dataset.seed == first.seed


def test_target_follows_and_learns_nothing_by_itself(pretrain_config):
    cfg = pretrain_config("BYOL", "MODEL.SSL.MOMENTUM.BASE", 1.0, "SOLVER.MAX_ITER", 2)
    trainer = build_trainer(cfg)
    before = {k: v.clone() for k, v in trainer.model.target_backbone.named_parameters()}
    trainer.train()
    for name, value in trainer.model.target_backbone.named_parameters():
        assert torch.allclose(value, before[name], atol=1e-7)
    online = dict(trainer.model.backbone.named_parameters())
    assert any(not torch.equal(online[k], before[k]) for k in before)


def test_accumulation_without_batch_norm_equals_the_whole_batch(pretrain_config, tmp_path):
    # batch norm sees the parts, so only a model without it can be compared
    options = ("MODEL.RESNETS.NORM", "", "MODEL.SSL.HEAD_NORM", "", "SOLVER.BASE_LR", 0.001,
               "INPUT.VIEWS.MIN_OVERLAP", 20, "INPUT.VIEWS.OVERLAP_TRIES", 100,
               "SOLVER.MAX_ITER", 3)  # fmt: skip
    results = []
    for parts in (1, 4):
        cfg = pretrain_config(
            "SCRL", *options, "SOLVER.ACCUMULATE", parts, "OUTPUT_DIR", str(tmp_path / str(parts))
        )
        results.append(train(cfg).model.state_dict())
    for key in results[0]:
        assert torch.allclose(results[0][key], results[1][key], atol=1e-5), key


def test_non_finite_loss_stops_and_names_the_key(pretrain_config):
    cfg = pretrain_config("BYOL")
    trainer = build_trainer(cfg)
    with torch.no_grad():
        trainer.model.objectives["BYOLObjective"].predictor.output.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="SOLVER.BASE_LR"):
        trainer.train()


def test_weights_that_are_not_finite_replace_no_checkpoint(pretrain_config):
    cfg = pretrain_config("BYOL")  # six iterations, a checkpoint after the third

    class Diverge(HookBase):
        def before_step(self):
            if self.trainer.iter == 5:
                bias = self.trainer.model.objectives["BYOLObjective"].predictor.hidden.bias
                bias.register_hook(lambda gradient: gradient * torch.nan)

    trainer = build_trainer(cfg)
    trainer.register_hooks([Diverge()])
    with pytest.raises(FloatingPointError, match="predictor.hidden.*SOLVER.BASE_LR"):
        trainer.train()
    with open(os.path.join(cfg.OUTPUT_DIR, "last_checkpoint")) as file:
        assert file.read() == "model_0000002.pth"
    assert all(
        x.isfinite().all() for x in load(cfg.OUTPUT_DIR, "model_0000002.pth")["model"].values()
    )
    with open(os.path.join(cfg.OUTPUT_DIR, "backbone.pkl"), "rb") as file:
        assert pickle.load(file)["dense_ssl"]["iteration"] == 2


def test_killed_while_writing_leaves_the_old_checkpoint(pretrain_config, monkeypatch):
    cfg = pretrain_config("BYOL", "SOLVER.MAX_ITER", 2)
    trainer = train(cfg)
    good = load(cfg.OUTPUT_DIR)

    def half(data, file):
        file.write(b"half a file")
        raise Killed

    monkeypatch.setattr("dense_ssl.checkpoint.checkpointer.torch.save", half)
    with pytest.raises(Killed):
        trainer.checkpointer.save("model_final")
    assert_equal_states(load(cfg.OUTPUT_DIR)["model"], good["model"])
    assert not [x for x in os.listdir(cfg.OUTPUT_DIR) if ".tmp" in x]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", METHODS)
def test_autocast_gives_nearly_the_same_losses(method, device):
    torch.manual_seed(0)
    # 20 layers instead of 50: with random weights and 2 x 2 maps rounding grows with depth
    model = build_model(tiny_config(method, "unused", "unused", "MODEL.RESNETS.DEPTH", 18,
                                    "MODEL.RESNETS.RES2_OUT_CHANNELS", 64))  # fmt: skip
    batch = batch_for(method, 8)
    with torch.no_grad():
        expected = model(batch)
        model.to(device)
        # on images of noise, where the marginals of Self-EMD are those of few cells;
        # test_bfloat16_trains_nearly_alike has photo-like ones
        for dtype, tolerance in ((torch.bfloat16, 0.05), (torch.float16, 0.02)):
            with torch.autocast(device, dtype):
                losses = model(batch)
            for key, loss in losses.items():
                assert loss.dtype == torch.float32
                # a negative loss may pass zero, where a relative tolerance means nothing
                nearly = pytest.approx(expected[key].item(), rel=tolerance, abs=0.01)
                assert loss.item() == nearly, key


@pytest.mark.parametrize("device", DEVICES)
def test_bfloat16_trains_nearly_alike(pretrain_config, tmp_path, device):
    losses = []
    for amp in (False, True):
        options = ("SOLVER.AMP.ENABLED", amp, "SOLVER.AMP.PRECISION", "bfloat16",
                   "MODEL.DEVICE", device if amp else "cpu",
                   "SOLVER.MAX_ITER", 1, "MODEL.RESNETS.DEPTH", 18,
                   "MODEL.RESNETS.RES2_OUT_CHANNELS", 64,
                   "OUTPUT_DIR", str(tmp_path / str(amp)))  # fmt: skip
        trainer = train(pretrain_config("SCRL", *options))
        losses.append(trainer.storage.history("total_loss").latest())
        assert all(x.dtype == torch.float32 for x in trainer.model.parameters())
    assert losses[0] == pytest.approx(losses[1], rel=0.02) and losses[0] != losses[1]


def test_float16_resumes_with_the_scale_of_its_gradients(pretrain_config, tmp_path):
    options = ("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.PRECISION", "float16",
               "SOLVER.WARMUP_ITERS", 0)  # fmt: skip
    whole = train(pretrain_config("SCRL", *options, "OUTPUT_DIR", str(tmp_path / "whole")))
    broken = pretrain_config("SCRL", *options, "OUTPUT_DIR", str(tmp_path / "broken"))
    train(broken, kill_at=4)
    train(broken, resume=True)
    a, b = load(whole.cfg.OUTPUT_DIR), load(broken.OUTPUT_DIR)
    assert_equal_states(a["model"], b["model"])
    scalers = [x["trainer"]["_trainer"]["grad_scaler"] for x in (a, b)]
    assert scalers[0] == scalers[1] and scalers[0]["scale"] < 65536  # steps were skipped
    assert whole.storage.history("grad_scale").latest() == scalers[0]["scale"]


def test_float16_whose_gradients_always_overflow_stops(pretrain_config):
    trainer = build_trainer(
        pretrain_config("BYOL", "SOLVER.AMP.ENABLED", True, "SOLVER.AMP.PRECISION", "float16")
    )
    next(trainer.model.parameters()).register_hook(lambda gradient: gradient * torch.inf)
    trainer._trainer.grad_scaler = torch.amp.GradScaler("cpu", init_scale=2.0**-13)
    with pytest.raises(FloatingPointError, match="SOLVER.AMP.PRECISION"):
        trainer.train()
    assert trainer.iter == 1


@pytest.mark.parametrize("optimizer, rate", [("LARS", 1.0), ("AdamW", 0.001)])
def test_other_optimizers_train(pretrain_config, optimizer, rate):
    options = ("SOLVER.OPTIMIZER", optimizer, "SOLVER.BASE_LR", rate, "SOLVER.MAX_ITER", 2,
               "MODEL.SSL.MOMENTUM.SCHEDULE", "constant")  # fmt: skip
    assert train(pretrain_config("BYOL", *options)).iter == 2


def test_composition_of_two_objectives_shares_passes(pretrain_config, monkeypatch):
    calls = []
    original = passes.extract_features
    monkeypatch.setattr(
        passes, "extract_features", lambda b, x: calls.append(len(x)) or original(b, x)
    )
    options = ("MODEL.SSL.OBJECTIVES", ("BYOLObjective", "SCRLObjective"),
               "MODEL.SSL.OBJECTIVE_WEIGHTS", (1.0, 0.5), "SOLVER.MAX_ITER", 1,
               "GUARDS.MEMORY", 0.0)  # no pass to estimate it  # fmt: skip
    trainer = train(pretrain_config("MultiObjective", *options))
    assert calls == [8] * 4  # two views, online and target
    names = trainer.storage.histories()
    assert "loss_byol" in names and "loss_scrl" in names
