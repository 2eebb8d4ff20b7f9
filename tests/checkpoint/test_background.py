"""Checkpoints that are written while training goes on."""

import io
import logging
import os
import threading

import pytest
import torch
from helpers import build_trainer, train

from dense_ssl.checkpoint import checkpointer as checkpointer_module
from dense_ssl.checkpoint.background import Writer, host_copy


def load(folder, name):
    return torch.load(os.path.join(folder, name), weights_only=True)


def assert_equal(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b)
    elif isinstance(a, (dict, list, tuple)):
        pairs = zip(a.values(), b.values()) if isinstance(a, dict) else zip(a, b)
        assert len(a) == len(b)
        for x, y in pairs:
            assert_equal(x, y)
    else:
        assert a == b


@pytest.fixture
def gate(monkeypatch):
    """torch.save of checkpoints waits until the event is set."""
    event, save = threading.Event(), torch.save

    def wait_and_save(*args):
        assert event.wait(60)
        save(*args)

    monkeypatch.setattr(checkpointer_module.torch, "save", wait_and_save)
    yield event
    event.set()


def test_a_copy_is_equal_and_its_own():
    base = torch.arange(12.0).view(3, 4)
    model = torch.nn.BatchNorm2d(3)
    value = {
        "a": base,
        "b": [base[1:, ::2], (base.to(torch.bfloat16), None)],
        "text": ["x", 1],
        "model": model.state_dict(),
        "empty": torch.empty(0),
        "none": torch.empty(0, 3),
    }
    copied = host_copy(value)
    assert_equal(value, copied)
    assert copied["b"][0].stride() == base[1:, ::2].stride()
    assert copied["model"]._metadata == value["model"]._metadata
    base.zero_()
    model.weight.data.fill_(7)
    value["text"].append("y")
    assert copied["a"].sum() == 66 and copied["b"][0].sum() == 4 + 6 + 8 + 10
    assert copied["model"]["weight"].sum() == 3 and copied["text"] == ["x", 1]


def test_a_copy_takes_no_more_room():
    base = torch.randn(1000)
    value = {"a": base, "b": base[10:], "c": base.view(10, 100)}
    sizes = []
    for x in (value, host_copy(value)):
        buffer = io.BytesIO()
        torch.save(x, buffer)
        sizes.append(len(buffer.getvalue()))
    assert sizes[0] == sizes[1] < 2 * base.nbytes
    copied = host_copy(value)
    copied["a"].fill_(3)
    assert (copied["c"] == 3).all()


def background_writer():
    writer = Writer()
    writer.in_background = True
    return writer


def test_jobs_follow_each_other():
    writer, done, go = background_writer(), [], threading.Event()
    tensor = torch.zeros(1)

    def job(x):
        assert go.wait(60)
        done.append(x.item())

    writer.start(job, tensor)
    tensor += 1
    assert done == []
    go.set()
    writer.start(job, tensor)
    writer.wait()
    writer.wait()
    assert done == [0.0, 1.0]


def test_in_the_foreground_a_job_is_done_at_once_and_without_a_copy():
    tensor, found = torch.zeros(1), []
    Writer().start(found.append, tensor)
    assert found[0] is tensor


def fail(x):
    raise OSError("no room")


@pytest.mark.parametrize("call", ["check", "wait", "finish", "start"])
def test_an_error_is_raised_once(call):
    writer = background_writer()
    writer.start(fail, {})
    writer._thread.join()
    with pytest.raises(OSError, match="no room"):
        getattr(writer, call)(*((print, {}) if call == "start" else ()))
    writer.check()
    writer.finish()


def test_at_the_end_by_another_error_it_is_logged(caplog):
    writer = background_writer()
    writer.start(fail, {})
    with pytest.raises(ZeroDivisionError), caplog.at_level(logging.ERROR):
        try:
            raise ZeroDivisionError
        finally:
            writer.finish()
    assert "The last checkpoint was not written: no room" in caplog.text


def test_a_second_ctrl_c_does_not_wait():
    writer, go = background_writer(), threading.Event()
    writer.start(lambda x: go.wait(60), {})
    with pytest.raises(KeyboardInterrupt):
        try:
            raise KeyboardInterrupt
        finally:
            writer.finish()
    assert writer._thread.is_alive()
    go.set()
    writer.wait()


@pytest.mark.parametrize("method", ["BYOL", "MoCoV2"])  # LARS and a target; a queue
def test_a_file_has_the_state_of_its_step(method, pretrain_config, gate, tmp_path, caplog):
    """Steps go on while it is written, and change nothing of it."""
    folders = []
    for in_background in (True, False):
        folder = tmp_path / str(in_background)
        options = {
            "SOLVER.CHECKPOINT_IN_BACKGROUND": in_background,
            "SOLVER.CHECKPOINT_PERIOD": 3,
            "SOLVER.MAX_ITER": 6,
            "SOLVER.OPTIMIZER": "LARS",
            "OUTPUT_DIR": str(folder),
        }
        cfg = pretrain_config(method, *(y for x in options.items() for y in x))
        trainer = build_trainer(cfg)
        trainer.resume_or_load(resume=False)
        if in_background:
            opened_at = []

            def open_gate(step=trainer.run_step, trainer=trainer, opened_at=opened_at):
                step()
                if trainer.iter == 4:
                    assert not os.path.exists(os.path.join(trainer.cfg.OUTPUT_DIR, "backbone.pkl"))
                    opened_at.append(trainer.iter)
                    gate.set()

            trainer.run_step = open_gate
        trainer.train()
        folders.append(folder)
    assert opened_at == [4]
    for name in ("model_0000002.pth", "model_final.pth"):
        first, second = (load(x, name) for x in folders)
        for data in (first, second):
            data["trainer"].pop("config")
        assert_equal(first, second)
    names = [sorted(os.listdir(x)) for x in folders]
    assert [x for x in names[0] if "tfevents" not in x] == [
        x for x in names[1] if "tfevents" not in x]  # fmt: skip


def test_the_next_step_raises_the_error(pretrain_config, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    cfg = pretrain_config("BYOL", "SOLVER.CHECKPOINT_PERIOD", 2, "SOLVER.MAX_ITER", 400)
    trainer = build_trainer(cfg)
    trainer.resume_or_load(resume=False)
    monkeypatch.setattr(checkpointer_module.torch, "save", full)
    with pytest.raises(OSError, match="model_0000001.pth is not written: No space left"):
        trainer.train()
    assert trainer.iter < 399
    assert not [x for x in os.listdir(cfg.OUTPUT_DIR) if x.startswith("model") or ".tmp" in x]


def test_what_is_asked_for_is_waited_for(pretrain_config, gate):
    trainer = build_trainer(pretrain_config("BYOL"))
    trainer.checkpointer.writer.in_background = True
    trainer.checkpointer.save("model_0000001", iteration=1)
    assert trainer.checkpointer.last == ""
    threading.Timer(0.2, gate.set).start()
    assert trainer.checkpointer.has_checkpoint()
    assert trainer.checkpointer.last == "model_0000001"


def test_only_a_run_writes_in_the_background(pretrain_config):
    for key in (True, False):
        cfg = pretrain_config("BYOL", "SOLVER.MAX_ITER", 2, "SOLVER.CHECKPOINT_IN_BACKGROUND", key)
        trainer, seen = build_trainer(cfg), []
        writer = trainer.checkpointer.writer
        step = trainer.run_step
        trainer.run_step = lambda x=writer, y=step, z=seen: (z.append(x.in_background), y())
        assert not writer.in_background
        trainer.train()
        assert not writer.in_background and seen == [key, key]


def test_a_run_resumes_from_it(pretrain_config):
    cfg = pretrain_config("BYOL", "SOLVER.CHECKPOINT_PERIOD", 2, "SOLVER.MAX_ITER", 6)
    train(cfg, kill_at=4)
    assert train(cfg, resume=True).start_iter == 4
