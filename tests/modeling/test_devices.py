"""Every method on another device than the CPU: the same losses, gradients, queues."""

import copy
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from devices import CUDA
from helpers import METHODS, batch_for, tiny_config
from second_device import DEVICE, Elsewhere, move, second_device

from dense_ssl.utils.events import LOG_PERIOD


def two_steps(model, method):
    """Losses, gradients of two steps, the state after them and the pictures, on the CPU.

    The first one is logged and drawn.
    """
    losses, gradients, storage = [], [], EventStorage(LOG_PERIOD - 1)
    for step in range(2):
        model.zero_grad()
        with storage if step == 0 else nullcontext():
            found = model(batch_for(method, 4))
        total = sum(found.values())
        assert total.device.type == model.device.type
        total.backward()
        losses.append({key: on_cpu(x).item() for key, x in found.items()})
        gradients.append([on_cpu(x.grad) for x in model.parameters() if x.grad is not None])
        with torch.no_grad():
            for x in model.parameters():
                if x.grad is not None:
                    x.sub_(x.grad, alpha=1e-3)
        model.after_step(0.9)
    pictures = {name: picture for name, picture, _ in storage._vis_data}
    return losses, gradients, {key: on_cpu(x) for key, x in model.state_dict().items()}, pictures


def on_cpu(tensor):
    tensor = tensor.detach()
    return tensor.inner if isinstance(tensor, Elsewhere) else tensor.cpu()


@pytest.mark.parametrize("device", [DEVICE.type, CUDA])
@pytest.mark.parametrize("method", METHODS)
def test_the_device_changes_nothing(method, device):
    torch.manual_seed(0)
    model = build_model(tiny_config(method, "unused", "unused", "VIS_PERIOD", 1)).double()
    other = copy.deepcopy(model)
    expected = two_steps(model, method)
    other = other.to(device) if device == "cuda" else move(other)
    with nullcontext() if device == "cuda" else second_device():
        found = two_steps(other, method)
    # a GPU rounds differently, also where a part is in float32
    for a, b in zip(found[0], expected[0]):
        assert a == pytest.approx(b, abs=1e-7 if device == "cuda" else 1e-9)
    for a, b in zip(found[1], expected[1]):
        scale = max(x.abs().max() for x in b)
        assert len(a) == len(b)
        assert all((x - y).abs().max() <= 1e-6 * scale for x, y in zip(a, b))
    for key, value in expected[2].items():
        assert torch.allclose(found[2][key].double(), value.double(), atol=1e-6), key
    assert found[3].keys() == expected[3].keys() and found[3]
    for name, picture in expected[3].items():
        same = np.abs(found[3][name].astype(int) - picture) <= (2 if device == "cuda" else 0)
        assert same.mean() > (0.99 if device == "cuda" else 0.999999), name


def test_a_mistake_is_seen():
    with second_device():
        x = torch.ones(3).to(DEVICE)
        assert (x * 2 + torch.tensor(1.0)).device == DEVICE
        for wrong in (lambda: x + torch.ones(3), lambda: torch.stack([x, torch.ones(3)]),
                      lambda: torch.ones(3).add_(x)):  # fmt: skip
            with pytest.raises(RuntimeError, match="mixes devices"):
                wrong()
        with pytest.raises(TypeError, match="a list as an index"):
            x[None, [0, 1]]
