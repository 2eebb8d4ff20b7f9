"""Losses are computed in float32 or better, whatever autocast makes of the features."""

import functools

import torch

_LOW = (torch.float16, torch.bfloat16)


def full_precision(function):
    """Run ``function`` without autocast, on tensors of float32 or better.

    Arguments that are float16 or bfloat16 tensors are cast to float32; float32, float64 and
    integer tensors, and everything else, are passed on as they are. At least one argument must be
    a tensor: autocast is turned off for its device.
    """

    @functools.wraps(function)
    def in_full_precision(*args, **kwargs):
        args = [at_least_float32(x) for x in args]
        kwargs = {name: at_least_float32(x) for name, x in kwargs.items()}
        device = next(x.device for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor))
        with torch.autocast(device.type, enabled=False):
            return function(*args, **kwargs)

    return in_full_precision


def at_least_float32(value):
    """Cast a float16 or bfloat16 tensor to float32; return everything else as it is."""
    return value.float() if isinstance(value, torch.Tensor) and value.dtype in _LOW else value
