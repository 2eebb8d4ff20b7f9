"""The running statistics of several processes are those of one."""

import pytest
import torch
from detectron2.layers import NaiveSyncBatchNorm
from detectron2.utils import comm

from dense_ssl.modeling.norm_statistics import UnbiasedSyncBatchNorm, unbias_running_variance


def forward_of_a_share(count, momentum):
    """The state of a norm after each process has seen its share of ``count`` images."""
    images = torch.randn(count, 3, 2, 2, dtype=torch.float64,
                         generator=torch.Generator().manual_seed(0))  # fmt: skip
    norm = NaiveSyncBatchNorm(3, momentum=momentum) if comm.get_world_size() > 1 else (
        torch.nn.BatchNorm2d(3, momentum=momentum)
    )  # fmt: skip
    norm = unbias_running_variance(norm.double())
    assert comm.get_world_size() == 1 or type(norm) is UnbiasedSyncBatchNorm
    share = count // comm.get_world_size()
    for _ in range(2):
        norm(images[comm.get_rank() * share :][:share])
    return norm.state_dict(), norm.eval()(images)


@pytest.mark.parametrize("momentum", [0.1, 1.0])
def test_the_running_variance_of_two_is_that_of_one(process_pool, momentum):
    (one, expected), two = forward_of_a_share(2, momentum), None
    for two, found in process_pool.run(forward_of_a_share, 2, momentum):
        assert one.keys() == two.keys()
        for key, value in one.items():
            assert torch.allclose(value, two[key], rtol=1e-12), key
        assert torch.allclose(expected, found, rtol=1e-12)


def test_one_process_keeps_torchs_norm():
    norm = unbias_running_variance(NaiveSyncBatchNorm(3))
    plain = torch.nn.BatchNorm2d(3)
    x = torch.randn(2, 3, 2, 2)
    assert torch.equal(norm(x), plain(x)) and torch.equal(norm.running_var, plain.running_var)


def test_a_norm_weighted_by_images_stays():
    norm = NaiveSyncBatchNorm(3, stats_mode="N")
    assert type(unbias_running_variance(norm)) is NaiveSyncBatchNorm
