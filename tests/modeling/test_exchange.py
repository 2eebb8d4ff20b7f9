"""Rows that processes exchange: MoCo's shuffled batch norm."""

import pytest
import torch
from detectron2.utils import comm
from exchanged_rows import exchanged, rows_of
from torch import nn

from dense_ssl.modeling.passes import Passes
from dense_ssl.utils.distributed import shared_permutation


def test_a_permutation_is_of_its_step():
    orders = [shared_permutation(16, step) for step in range(5)]
    assert all(sorted(x.tolist()) == list(range(16)) for x in orders)
    assert torch.equal(orders[3], shared_permutation(16, 3))
    assert len({tuple(x.tolist()) for x in orders}) == 5


@pytest.mark.parametrize("shape, dtype", [
    ((4, 3), torch.float32), ((5, 2, 3, 4), torch.bfloat16), ((1, 2), torch.uint8),
    ((6,), torch.int64),
])  # fmt: skip
def test_it_is_the_share_of_the_gathered_rows(process_pool, shape, dtype):
    for step in range(4):
        for found, expected, returns, has_graph in process_pool.run(exchanged, shape, dtype, step):
            assert torch.equal(found, expected) and found.dtype == dtype
            assert returns and not has_graph


class Encoder(nn.Module):
    """Subtracts the mean of its batch, and keeps what it saw."""

    def forward(self, x):
        self.seen = x
        return {"map": x - x.mean()}


class OneView:
    def __init__(self, images):
        self.images = images


def shuffled(step):
    from detectron2.utils.events import EventStorage

    encoder, images = Encoder(), rows_of(comm.get_rank(), (4, 1), torch.float64)
    passes = Passes((None, encoder), [OneView(images)], (), (0,), shuffle=True)
    with EventStorage(step):
        return encoder, passes.target(0)["map"], images


def test_keys_are_normalised_with_other_images_and_come_back(process_pool):
    seen = []
    for step in range(3):
        parts = process_pool.run(shuffled, step)
        together = torch.cat([x.seen for x, *_ in parts]).flatten()
        assert sorted(together.tolist()) == list(range(8))
        seen.append(together.tolist())
        means = {v.item(): x.seen.mean() for x, *_ in parts for v in x.seen}
        for _, found, images in parts:
            expected = torch.stack([v - means[v.item()] for v in images])
            assert torch.equal(found, expected)
    assert len({tuple(x) for x in seen}) == 3 and any(x[:4] != [0, 1, 2, 3] for x in seen)
