"""No step makes the host wait for a GPU, which would run out of work meanwhile."""

import pytest
import torch
from detectron2.modeling import build_model
from devices import CUDA
from helpers import METHODS, batch_for, tiny_config
from waits import NoNumbers, NoWaits

from dense_ssl.data.views.batch import stack_samples


def step(model, batch):
    sum(model(batch).values()).backward()
    model.after_step(0.9)


@pytest.mark.parametrize("method", METHODS)
def test_a_step_does_not_wait(method):
    torch.manual_seed(0)
    model = build_model(tiny_config(method, "unused", "unused"))
    batch = stack_samples(batch_for(method, 4))
    step(model, batch)  # makes the constants
    with NoWaits(), NoNumbers():
        step(model, batch)


@pytest.mark.parametrize("device", [CUDA])
@pytest.mark.parametrize("method", METHODS)
def test_a_step_does_not_wait_for_a_gpu(method, device):
    cfg = tiny_config(method, "unused", "unused", "MODEL.DEVICE", device)
    model, batch = build_model(cfg), on_device(stack_samples(batch_for(method, 4)), device)
    for _ in range(2):
        step(model, batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(model, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def on_device(batch, device):
    if isinstance(batch, torch.Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: on_device(x, device) for key, x in batch.items()}
    return [on_device(x, device) for x in batch] if isinstance(batch, list) else batch


@pytest.mark.parametrize(
    "wait",
    [lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: x.nonzero(), lambda x: bool(x[0])],
)
def test_a_wait_is_seen(wait):
    with NoWaits(), pytest.raises(RuntimeError, match="waits for the device"):
        wait(torch.ones(3))


def test_a_number_is_seen():
    with NoNumbers(), pytest.raises(RuntimeError, match="copies numbers"):
        torch.ones(3).new_tensor([1.0, 2.0])
