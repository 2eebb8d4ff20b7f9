"""Random numbers that depend on an image's seed alone.

Boxes and points are drawn on the whole batch at once, yet the numbers of an image must not depend
on its neighbours in the batch, on the number of processes, or on what ran before: then one process
and many, and a resumed run and an uninterrupted one, see the same samples. A counter-based
generator gives that without state: number ``i`` of an image is a hash of its seed and ``i``.
"""

import torch


def _signed(value):
    """The 64-bit pattern ``value`` as a signed integer (torch has no unsigned arithmetic)."""
    return value - 2**64 if value >= 2**63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX = (_signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB))


def _shift_right(x, bits):
    """Logical right shift of int64 (``>>`` alone would carry the sign)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x):
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014); products wrap modulo 2**64."""
    x = (x ^ _shift_right(x, 30)) * _MIX[0]
    x = (x ^ _shift_right(x, 27)) * _MIX[1]
    return x ^ _shift_right(x, 31)


def uniform(seeds, shape, stream=0):
    """Uniform numbers in [0, 1).

    Args:
        seeds: (N,) int64, one per image.
        shape: shape of the numbers of one image.
        stream: another value gives independent numbers for the same seeds.

    Returns:
        (N, *shape) float64.
    """
    count = 1
    for side in shape:
        count *= side
    start = _mix(_mix(seeds) + (2 * stream + 1) * 0x632BE59B)  # (N,)
    steps = torch.arange(1, count + 1, device=seeds.device) * _GOLDEN  # (count,)
    bits = _mix(start[:, None] + steps)  # (N, count)
    return (_shift_right(bits, 11).double() * 2.0**-53).reshape(len(seeds), *shape)
