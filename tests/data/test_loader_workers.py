"""SIGTERM to all processes of a run, as schedulers send it, with workers of a data loader."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from helpers import CONFIGS, ROOT
from torch.utils.data import DataLoader, Dataset

from dense_ssl.utils.loader_workers import shielded


class Slow(Dataset):
    """The number of an item, after a while."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        time.sleep(0.05)
        return index


def signalled(pid):
    """Send SIGTERM from another process than the parent."""
    subprocess.run(["kill", "-TERM", str(pid)], check=True)


@pytest.fixture
def workers():
    loader = shielded(DataLoader(Slow(), num_workers=2))
    batches = iter(loader)
    first = next(batches)
    yield batches, first
    batches._shutdown_workers()


def test_workers_go_on_for_their_run(workers):
    batches, first = workers
    for worker in batches._workers:
        signalled(worker.pid)
    assert torch.cat([first, *batches]).tolist() == list(range(40))


def test_they_end_when_their_run_says_so(workers):
    batches, _ = workers
    signalled(batches._workers[0].pid)
    time.sleep(0.2)
    assert batches._workers[0].is_alive()
    batches._workers[0].terminate()
    batches._workers[0].join(10)
    assert batches._workers[0].exitcode == 0


def test_another_start_of_workers_is_kept():
    loader = DataLoader(Slow(), num_workers=1, worker_init_fn=_fail)
    with pytest.raises(RuntimeError, match="it was called with 0"):
        next(iter(shielded(loader)))


def _fail(index):
    raise RuntimeError(f"it was called with {index}")


def test_a_run_whose_whole_group_is_told_to_stop(image_folder, tmp_path):
    words = [
        "--config-file", CONFIGS / "mini/pretrain/byol_R_18.yaml", "DATASETS.TRAIN",
        f"folder:{image_folder}", "SOLVER.IMS_PER_BATCH", 2, "SOLVER.EPOCHS", 0,
        "SOLVER.WARMUP_EPOCHS", 0, "SOLVER.CHECKPOINT_EPOCHS", 0, "SOLVER.MAX_ITER", 100000,
        "SOLVER.OPTIMIZER", "SGD", "SOLVER.BASE_LR", 1e-4, "SOLVER.WARMUP_ITERS", 1,
        "DATALOADER.NUM_WORKERS", 2, "MODEL.DEVICE", "cpu", "INPUT.VIEWS.SIZE", "(32,)",
        "VIS_PERIOD", 0,
        "OUTPUT_DIR", tmp_path / "out",
    ]  # fmt: skip
    run = subprocess.Popen(
        [sys.executable, str(ROOT / "train_net.py"), *map(str, words)], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        shown = []
        for line in run.stdout:
            shown.append(line)
            if line.startswith("iter 20/"):
                os.killpg(run.pid, signal.SIGTERM)
        assert run.wait(60) == 75, "".join(shown)
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    assert "Traceback" not in "".join(shown) and "--resume goes on" in "".join(shown)
    assert len(list((tmp_path / "out").glob("model_*.pth"))) == 1
