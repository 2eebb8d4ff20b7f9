"""Small constant tensors, made once for each device."""

import functools

import torch


def constant(values, like):
    """Return numbers as a 1-D tensor of the type and on the device of ``like``.

    Making a tensor from numbers copies them to the device, and the host waits for the copy. At
    every step that would hold up a GPU, so the tensor is kept. It must not be changed in place.
    """
    return _constant(tuple(values), like.dtype, like.device)


@functools.lru_cache(maxsize=256)
def _constant(values, dtype, device):
    with torch.inference_mode(False):  # a tensor of inference mode could not be trained with
        return torch.tensor(values, dtype=dtype, device=device)
