import pytest
import torch
from devices import DEVICES
from scipy import stats

from dense_ssl.modeling.geometry.random_numbers import uniform

MASK = 2**64 - 1


def literal_splitmix(seed, steps):
    """SplitMix64 in Python's unbounded integers."""

    def mix(z):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    start = mix((mix(seed) + 0x632BE59B) & MASK)
    return [(mix((start + i * 0x9E3779B97F4A7C15) & MASK) >> 11) * 2.0**-53 for i in steps]


@pytest.mark.parametrize("device", DEVICES)
def test_agrees_with_unbounded_integers(device):
    seeds = torch.tensor([0, 1, 12345678901234567, 2**62], device=device)
    got = uniform(seeds, (5,))
    for row, seed in zip(got.tolist(), seeds.tolist()):
        assert row == literal_splitmix(seed, range(1, 6))


def test_is_uniform_and_independent():
    numbers = uniform(torch.arange(2000), (50,))
    assert numbers.min() >= 0 and numbers.max() < 1
    assert stats.kstest(numbers.flatten().numpy(), "uniform").pvalue > 0.01
    between_images = torch.corrcoef(numbers[:20])
    between_draws = torch.corrcoef(numbers.T[:20])
    for matrix, limit in ((between_images, 0.6), (between_draws, 0.1)):
        assert (matrix - torch.eye(20)).abs().max() < limit


def test_streams_and_seeds_differ():
    seeds = torch.tensor([5, 6])
    assert not torch.equal(uniform(seeds, (4,)), uniform(seeds, (4,), stream=1))
    assert not torch.equal(uniform(seeds, (4,))[0], uniform(seeds, (4,))[1])


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_shape(shape):
    assert uniform(torch.arange(4), shape).shape == (4, *shape)
