"""Which checkpoint a run goes on from, and what a folder keeps."""

import multiprocessing
import os
import signal
import time

import pytest
import torch

from dense_ssl.checkpoint.recovery import (
    checkpoints_of,
    fault_of,
    last_intact,
    locked,
    remove_leftovers,
    remove_old,
)


@pytest.fixture
def folder(tmp_path):
    for iteration in (9, 19, 29):
        torch.save({"x": torch.full((2000,), float(iteration))},
                   tmp_path / f"model_{iteration:07d}.pth")  # fmt: skip
    (tmp_path / "last_checkpoint").write_text("model_0000029.pth")
    return tmp_path


def names(folder):
    return sorted(x.name for x in folder.glob("*.pth"))


def test_the_newest_one_is_the_one_that_is_named(folder):
    assert last_intact(folder) == str(folder / "model_0000029.pth")
    (folder / "last_checkpoint").write_text("model_0000019.pth")
    assert last_intact(folder) == str(folder / "model_0000019.pth")
    assert last_intact(folder / "absent") == ""


@pytest.mark.parametrize("tag", [None, "", "model_0000099.pth", "\x00\x00"])
def test_a_lost_name_is_no_new_start(folder, tag, caplog):
    (folder / "last_checkpoint").unlink()
    if tag is not None:
        (folder / "last_checkpoint").write_text(tag)
    torch.save({}, folder / "model_best.pth")
    assert last_intact(folder) == str(folder / "model_0000029.pth")
    assert "last_checkpoint is lost or damaged" in caplog.text
    torch.save({"x": torch.ones(3)}, folder / "model_final.pth")
    assert last_intact(folder) == str(folder / "model_final.pth")


def test_a_run_that_was_made_longer_has_newer_checkpoints_than_its_final_one(folder):
    torch.save({"x": torch.ones(3), "iteration": 19}, folder / "model_final.pth")
    (folder / "last_checkpoint").write_text("model_0000029.pth")
    damage(folder / "model_0000029.pth", "cut off")
    assert last_intact(folder) == str(folder / "model_final.pth")  # as old as model_0000019
    torch.save({"x": torch.ones(3), "iteration": 9}, folder / "model_final.pth")
    assert last_intact(folder) == str(folder / "model_0000019.pth")
    torch.save({"x": torch.ones(3), "iteration": 39}, folder / "model_final.pth")
    assert last_intact(folder) == str(folder / "model_final.pth")


def damage(path, kind):
    data = bytearray(path.read_bytes())
    if kind == "cut off":
        data = data[: len(data) // 2]
    elif kind == "empty":
        data = b""
    elif kind == "zeros":
        data = bytes(len(data))
    else:  # a bit of the tensor
        data[data.index(torch.full((2000,), 29.0).numpy().tobytes()) + 4001] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["cut off", "empty", "zeros", "a bit"])
def test_a_damaged_one_is_passed_over(folder, kind, caplog):
    damage(folder / "model_0000029.pth", kind)
    assert fault_of(folder / "model_0000029.pth")
    assert last_intact(folder) == str(folder / "model_0000019.pth")
    assert "model_0000029.pth is damaged" in caplog.text


def test_nothing_but_damage_is_an_error(folder):
    for path in folder.glob("*.pth"):
        path.write_bytes(b"PK")
    with pytest.raises(ValueError, match="All 3 checkpoints.*damaged.*OUTPUT_DIR"):
        last_intact(folder)


def test_old_ones_are_deleted(folder):
    torch.save({}, folder / "model_best.pth")
    remove_old(folder, 0, 0)
    assert len(names(folder)) == 4
    remove_old(folder, 1, 20)  # 19 is the end of 20 iterations
    assert names(folder) == ["model_0000019.pth", "model_0000029.pth", "model_best.pth"]
    remove_old(folder, 1, 0)
    assert names(folder) == ["model_0000029.pth", "model_best.pth"]


def test_the_named_one_stays(folder):
    (folder / "last_checkpoint").write_text("model_0000009.pth")
    remove_old(folder, 1, 0)
    assert names(folder) == ["model_0000009.pth", "model_0000029.pth"]


def test_leftovers_are_deleted_and_nothing_else(folder):
    (folder / "model_0000039.pth.tmp4711").write_bytes(b"half")
    (folder / "backbone.pkl.tmp12").write_bytes(b"half")
    (folder / "notes.tmp").write_text("mine")
    before = {x.name for x in folder.iterdir()}
    remove_leftovers(folder)
    gone = before - {x.name for x in folder.iterdir()}
    assert gone == {"model_0000039.pth.tmp4711", "backbone.pkl.tmp12"}
    assert len(checkpoints_of(folder)) == 3


def _hold(folder, ready, seconds):
    with locked(folder):
        ready.set()
        time.sleep(seconds)


def test_a_folder_has_one_run(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path), ready, 60))
    other.start()
    assert ready.wait(60)
    with pytest.raises(BlockingIOError, match="Another run writes to"), locked(tmp_path):
        pass
    other.kill()  # as a machine that is taken away
    other.join()
    with locked(tmp_path):
        pass


def test_a_worker_that_outlives_its_run_does_not_keep_the_folder(tmp_path):
    began, begins = os.pipe()
    with locked(tmp_path):
        worker = os.fork()
        if worker == 0:
            os.write(begins, b"1")
            time.sleep(60)
            os._exit(0)
        os.read(began, 1)  # it has run what a fork runs first
        with pytest.raises(BlockingIOError), locked(tmp_path):
            pass
    try:
        with locked(tmp_path):  # as after SIGKILL: the run is gone, its worker is not
            assert os.waitpid(worker, os.WNOHANG) == (0, 0)
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
        os.close(began)
        os.close(begins)
