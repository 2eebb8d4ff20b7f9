import math

import pytest
import torch
from torch import nn

from dense_ssl.modeling.momentum import momentum_at, momentum_copy, update_momentum


def test_copy_equals_and_takes_no_gradient():
    online = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    target = momentum_copy(online)
    assert all(torch.equal(a, b) for a, b in zip(online.parameters(), target.parameters()))
    assert not any(x.requires_grad for x in target.parameters())
    assert all(x.requires_grad for x in online.parameters())


def test_update_is_the_moving_average_and_leaves_buffers_alone():
    torch.manual_seed(0)
    online = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    target = momentum_copy(online)
    with torch.no_grad():
        for x in online.parameters():
            x.add_(torch.randn_like(x))
    online[1].running_mean.fill_(7)
    before = [x.clone() for x in target.parameters()]
    update_momentum(online, target, 0.9)
    for new, old, source in zip(target.parameters(), before, online.parameters()):
        assert torch.allclose(new, 0.9 * old + 0.1 * source, atol=1e-6)
    assert target[1].running_mean.abs().max() == 0


def test_ends_of_the_range():
    online, target = nn.Linear(2, 2), nn.Linear(2, 2)
    before = target.weight.clone()
    update_momentum(online, target, 1.0)
    assert torch.allclose(target.weight, before)
    update_momentum(online, target, 0.0)
    assert torch.allclose(target.weight, online.weight)


def test_cosine_schedule():
    for k in range(0, 101, 10):
        expected = 1 - (1 - 0.97) * (math.cos(math.pi * k / 100) + 1) / 2
        assert momentum_at(k, 100, 0.97, "cosine") == pytest.approx(expected)
    assert momentum_at(0, 100, 0.97, "cosine") == pytest.approx(0.97)
    assert momentum_at(100, 100, 0.97, "cosine") == pytest.approx(1.0)
    assert momentum_at(50, 100, 0.97, "constant") == 0.97


def test_unknown_schedule_names_the_key():
    with pytest.raises(ValueError, match="MODEL.SSL.MOMENTUM.SCHEDULE"):
        momentum_at(0, 1, 0.9, "linear")
