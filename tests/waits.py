"""Modes that refuse what makes the host wait for a GPU, on any device."""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


class NoWaits(TorchDispatchMode):
    """Refuses operations whose result or its shape the host has to know."""

    WAIT = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2")

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.__name__.partition(".")[0]
        masks = args[1] if name in ("index", "index_put_", "index_put") else ()
        if name in self.WAIT or any(x is not None and x.dtype == torch.bool for x in masks):
            raise RuntimeError(f"{name} waits for the device")
        return function(*args, **(kwargs or {}))


class NoNumbers(TorchFunctionMode):
    """Refuses tensors from numbers, whose copy to a GPU the host waits for."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (torch.Tensor.new_tensor, torch.tensor, torch.as_tensor):
            raise RuntimeError(f"{function.__name__} copies numbers to the device")
        return function(*args, **(kwargs or {}))
