"""The losses of a step: read later on a GPU, in the right order, checked before a checkpoint."""

import pytest
import torch
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from devices import CUDA
from torch import nn

from dense_ssl.engine.step_numbers import StepNumbers
from dense_ssl.engine.train_step import TrainStep


class Line(nn.Module):
    """Two losses of one weight; a batch is a number."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, batch):
        return {"loss_a": self.weight * batch, "loss_b": self.weight * 2}


def step_on(batches, lag, accumulate=1, device="cpu"):
    model = Line().to(device)
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    step = TrainStep(model, batches, optimizer, accumulate=accumulate)
    step._numbers._lag = lag
    return step


def run(step, count, start=0):
    with EventStorage(start) as storage:
        for step.iter in range(start, start + count):
            storage.iter = step.iter
            step.run_step()
    return storage


@pytest.mark.parametrize("lag", [0, 1])
def test_every_loss_is_stored_with_its_own_iteration(lag):
    storage = run(step_on(iter(range(1, 41)), lag), 40)
    assert storage.history("loss_a").values() == [(float(x), x - 1) for x in range(1, 41)]
    assert storage.history("total_loss").values() == [(x + 2.0, x - 1) for x in range(1, 41)]
    assert storage.iter == 39


def test_a_gpu_is_one_step_ahead_except_where_a_report_is_due():
    step = step_on(iter(range(1, 41)), lag=1)
    with EventStorage(0) as storage:
        for i in range(22):
            step.iter = storage.iter = i
            step.run_step()
            known = len(storage.history("loss_a").values()) if i else 0
            assert known == (i + 1 if i == 19 else i)
        step.read_numbers()
    assert storage.history("loss_a").latest() == 22


@pytest.mark.parametrize("lag", [0, 1])
def test_a_loss_that_is_not_finite_is_named_by_its_step(lag):
    step = step_on(iter([1.0, float("nan"), 1.0, 1.0]), lag)
    with pytest.raises(FloatingPointError, match="not finite at iteration 1: .*'loss_a': nan"):
        run(step, 4)
    assert step.iter == 1 + lag


@pytest.mark.parametrize("device", [CUDA])
def test_a_step_does_not_wait_for_a_gpu(device):
    step = step_on(iter(torch.arange(1.0, 26, device=device)), lag=1, device=device)
    with EventStorage(0) as storage:
        for step.iter in range(24):
            storage.iter = step.iter
            is_watched = 2 <= step.iter and step.iter != 19
            torch.cuda.set_sync_debug_mode("error" if is_watched else "default")
            try:
                step.run_step()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        step.read_numbers()
    assert storage.history("loss_a").values() == [(x + 1.0, x) for x in range(24)]


def test_no_checkpoint_is_written_after_a_loss_that_is_not_finite():
    step = step_on(iter([1.0, float("inf")]), lag=1)
    with EventStorage(0) as storage:
        for i in range(2):
            step.iter = storage.iter = i
            step.run_step()
        with pytest.raises(FloatingPointError, match="at iteration 1"):
            step.state_dict()


def test_accumulated_batches_are_averaged():
    storage = run(step_on(iter([1.0, 2.0, 6.0, 0.0]), 0, accumulate=2), 2)
    assert storage.history("loss_a").values() == [(1.5, 0), (3.0, 1)]
    assert storage.history("total_loss").values() == [(3.5, 0), (5.0, 1)]


def numbers_of_two():
    rank, numbers = comm.get_rank(), StepNumbers(torch.device("cpu"))
    numbers.put(7, [{"loss": torch.tensor(1.0 + rank, dtype=torch.float64)}], 0.25 * rank)
    return list(numbers.read())


def test_processes_are_averaged_and_the_longest_wait_counts(process_pool):
    assert process_pool.run(numbers_of_two) == [[(7, {"loss": 1.5}, 0.25)]] * 2
