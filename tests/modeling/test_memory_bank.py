"""The queue: order, wrapping, size, type."""

import logging
from collections import Counter

import pytest
import torch
from detectron2.utils import comm
from devices import DEVICES
from helpers import base_config, recorded_log
from torch.nn import functional as F

from dense_ssl.losses import info_nce
from dense_ssl.modeling.memory_bank import DEFAULT_SIZE, MemoryBank, resolve_queue_size
from dense_ssl.modeling.queue_contrast import QueueContrast


def keys(count, dim=4, seed=0):
    rows = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))
    return F.normalize(rows, dim=1)


def test_starts_with_the_same_random_directions_everywhere():
    torch.manual_seed(1)
    first = MemoryBank(50, 8)
    torch.manual_seed(2)
    assert torch.equal(first.keys, MemoryBank(50, 8).keys)
    assert torch.allclose(first.keys.norm(dim=1), torch.ones(50))
    assert first.fill == 0 and len(first) == 50


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("batch", [1, 3, 7, 10, 11, 25])
def test_holds_the_newest_keys_at_any_batch_size(batch, device):
    bank, stream = MemoryBank(10, 4).to(device), keys(100).to(device)
    expected = list(bank.keys)  # a plain list as the queue
    position = 0
    for start in range(0, 100 - batch, batch):
        rows = stream[start : start + batch]
        bank.enqueue(rows)
        for row in rows:
            expected[position % 10] = row
            position += 1
        assert torch.allclose(bank.keys, torch.stack(expected), atol=1e-6)
        assert bank.enqueued == position
        assert bank.fill.item() == pytest.approx(min(position / 10, 1))


def test_only_valid_keys_enter():
    bank, rows = MemoryBank(10, 4), keys(6)
    valid = torch.tensor([True, False, True, True, False, False])
    before = bank.keys.clone()
    bank.enqueue(rows, valid)
    assert torch.allclose(bank.keys[:3], rows[valid], atol=1e-6)
    assert torch.equal(bank.keys[3:], before[3:]) and bank.enqueued == 3
    bank.enqueue(rows, torch.zeros(6, dtype=torch.bool))
    assert bank.enqueued == 3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_type_is_that_of_the_config_and_survives_a_checkpoint(dtype):
    bank = MemoryBank(10, 4, dtype)
    bank.enqueue(3 * keys(4).double())  # normalised inside
    assert bank.keys.dtype == getattr(torch, dtype)
    assert bank.keys[:4].float().norm(dim=1) == pytest.approx(1, abs=0.01)
    other = MemoryBank(10, 4, dtype)
    other.load_state_dict(bank.state_dict())
    assert torch.equal(other.keys, bank.keys) and other.enqueued == 4


def test_unknown_type():
    with pytest.raises(ValueError, match="QUEUE_DTYPE"):
        MemoryBank(10, 4, "int8")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_loss_is_that_of_normalised_keys(dtype):
    """Rounded keys are not quite of length 1: those are normalised, others read in place."""
    contrast = QueueContrast(MemoryBank(64, 4, dtype), 0.2)
    query, key = keys(3, seed=1), keys(3, seed=2)
    expected = info_nce(query.double(), key.double(), contrast.bank.keys.double(), 0.2)
    assert contrast(query, key, "test").item() == pytest.approx(expected.item(), abs=1e-6)


def test_keys_are_held_back_until_the_step_is_over():
    contrast = QueueContrast(MemoryBank(10, 4), 0.2)
    query = keys(3, seed=1).requires_grad_()
    before = contrast.bank.keys.clone()
    loss = contrast(query, keys(3, seed=2), "test")
    contrast.bank.push(keys(3, seed=2))
    contrast.bank.push(keys(2, seed=3), torch.tensor([True, False]))
    assert torch.equal(contrast.bank.keys, before)
    loss.backward()  # the queue of the loss is still there, untouched
    contrast.bank.advance()
    assert contrast.bank.enqueued == 4
    contrast.bank.advance()
    assert contrast.bank.enqueued == 4


def config(size, *options):
    return base_config("MODEL.MOCO.QUEUE_SIZE", size, *options)


@pytest.mark.parametrize("size, images, per_image, expected", [
    (0, 1000, 1, 500), (0, 1000, 4, 2000), (0, 10**6, 1, DEFAULT_SIZE), (0, 1, 1, 1),
    (700, 1000, 1, 700), (1000, 1000, 1, 1000), (3000, 1000, 4, 3000),
])  # fmt: skip
def test_size_by_the_data(size, images, per_image, expected):
    cfg = config(size)
    for _ in range(2):  # resolved twice is resolved once
        resolve_queue_size(cfg, "MODEL.MOCO.QUEUE_SIZE", images, per_image)
        assert cfg.MODEL.MOCO.QUEUE_SIZE == expected


def test_a_queue_of_another_size_starts_anew():
    saved = MemoryBank(8, 4)
    saved.enqueue(keys(5))
    bank = MemoryBank(6, 4)
    start = bank.keys.clone()
    with recorded_log("dense_ssl.modeling.memory_bank", logging.WARNING) as messages:
        absent = bank.load_state_dict(saved.state_dict(), strict=False).missing_keys
    assert not absent  # or a resumed run would be refused
    assert bank.enqueued == 0 and torch.equal(bank.keys, start) and "another size" in messages[0]
    same = MemoryBank(8, 4)
    same.load_state_dict(saved.state_dict())
    assert same.enqueued == 5 and torch.equal(same.keys, saved.keys)


@pytest.mark.parametrize("size, images", [(1001, 1000), (65536, 3000), (-1, 1000)])
def test_a_queue_that_the_data_cannot_fill_is_refused(size, images):
    with pytest.raises(ValueError, match="MODEL.MOCO.QUEUE_SIZE.*0 for a size that suits"):
        resolve_queue_size(config(size), "MODEL.MOCO.QUEUE_SIZE", images)


@pytest.mark.parametrize("momentum, warned", [(0.999, False), (0.99, False), (0.9, True)])
def test_a_queue_that_outlives_its_encoder_is_named(momentum, warned):
    options = ("SOLVER.IMS_PER_BATCH", 32, "MODEL.SSL.MOMENTUM.BASE", momentum)
    with recorded_log("dense_ssl.modeling.memory_bank", logging.WARNING) as messages:
        resolve_queue_size(config(1600, *options), "MODEL.MOCO.QUEUE_SIZE", 4000)
    assert bool(messages) == warned
    if warned:
        assert "MODEL.SSL.MOMENTUM.BASE 0.9 " in messages[0] and "0.995" in messages[0]


@pytest.mark.parametrize("norm, shuffle, warned", [
    ("BN", False, True), ("BN", True, False), ("SyncBN", False, False),
])  # fmt: skip
def test_norms_that_leak_are_named(monkeypatch, norm, shuffle, warned):
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr("detectron2.utils.logger._LOG_COUNTER", Counter())
    options = ("MODEL.RESNETS.NORM", norm, "MODEL.SSL.SHUFFLE_TARGET", shuffle)
    with recorded_log("dense_ssl.modeling.memory_bank", logging.WARNING) as messages:
        for _ in range(2):  # two queues, one warning
            resolve_queue_size(config(100, *options), "MODEL.MOCO.QUEUE_SIZE", 4000)
    assert sum("SHUFFLE_TARGET" in x for x in messages) == warned
