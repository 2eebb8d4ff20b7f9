"""A second device for machines that have one alone: tensors that say they are elsewhere.

On a GPU an operation between one of its tensors and one of the CPU fails; without a GPU nobody sees
such a mistake. An :class:`Elsewhere` has its numbers on the CPU, but says that it is on DEVICE, and
operations refuse to mix it with ordinary tensors, by the rules of CUDA.
"""

from contextlib import contextmanager, nullcontext
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

# The device of tensors without numbers: autograd takes it where there is no GPU.
DEVICE = torch.device("meta")
_COPIES = ("_to_copy", "copy_")
_INDEXING = ("index", "index_put", "index_put_", "_unsafe_index", "_index_put_impl_")


class Elsewhere(torch.Tensor):
    """A tensor on the CPU, ``inner``, that says it is on DEVICE."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(),
            dtype=inner.dtype, layout=inner.layout, device=DEVICE,
        )  # fmt: skip

    def __init__(self, inner):
        self.inner = inner

    def __repr__(self):
        return f"Elsewhere({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


def move(module):
    """Move a module to DEVICE, as ``module.to`` does, with what it keeps beside its submodules."""
    return module._apply(lambda x: Elsewhere(x.detach().clone()))


@contextmanager
def second_device():
    """Within it DEVICE exists: ``.to(DEVICE)`` and factories with ``device=`` lead there."""
    autocast = torch.autocast

    def known_autocast(device_type, *args, **kwargs):
        if device_type == DEVICE.type:  # which has no autocast
            return nullcontext()
        return autocast(device_type, *args, **kwargs)

    with mock.patch("torch.autocast", known_autocast), _Dispatch(), _Factories():
        yield


class _Dispatch(TorchDispatchMode):
    """Sees also operations that create a tensor from none."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


class _Factories(TorchFunctionMode):
    """Between numbers and tensors, where dispatch sees nothing of DEVICE."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.Tensor.new_tensor and isinstance(args[0], Elsewhere):
            kwargs.setdefault("dtype", args[0].dtype)
            return Elsewhere(torch.tensor(args[1], **kwargs))
        if function is torch.Tensor.tolist and isinstance(args[0], Elsewhere):
            return args[0].inner.tolist()
        if function is torch.Tensor.__getitem__ and isinstance(args[0], Elsewhere):
            parts = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(x, list) for x in parts):  # DEVICE would give it no numbers
                raise TypeError("a list as an index is copied from the CPU at every call")
        if function is torch.Tensor.numpy and isinstance(args[0], Elsewhere):
            raise TypeError("can't convert a tensor of another device to numpy")
        if function is torch.tensor and "device" in kwargs:
            goes = torch.device(kwargs.pop("device")) == DEVICE
            made = function(*args, **kwargs)
            return Elsewhere(made) if goes else made
        return function(*args, **kwargs)


def _run(function, args, kwargs):
    """Run an operation on the numbers; refuse arguments of both devices."""
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    moved = [x for x in tensors if isinstance(x, Elsewhere)]
    name = function.__name__.partition(".")[0]
    if moved:
        _refuse_mixture(name, [x for x in tensors if not isinstance(x, Elsewhere)])
    if kwargs.get("device") is not None:
        goes = torch.device(kwargs["device"]) == DEVICE
        kwargs = {**kwargs, "device": torch.device("cpu")}
    elif name == "copy_":
        goes = isinstance(args[0], Elsewhere)
    else:
        goes = bool(moved)
    args, kwargs = tree_map(_inner, (args, kwargs))
    result = function(*args, **kwargs)
    if not goes:
        return result
    known = {id(x.inner): x for x in moved}  # operations in place return their argument

    def wrap(x):
        if not isinstance(x, torch.Tensor):
            return x
        return known[id(x)] if id(x) in known else Elsewhere(x)

    return tree_map(wrap, result)


def _refuse_mixture(name, others):
    """CUDA takes from the CPU single numbers, indices, and what is copied."""
    if name in _COPIES:
        return
    others = [x for x in others if x.dim() > 0]
    if name in _INDEXING:
        others = [x for x in others if x.dtype not in (torch.int64, torch.bool)]
    if others:
        shapes = [tuple(x.shape) for x in others]
        raise RuntimeError(f"{name} mixes devices: tensors of the CPU of shape {shapes}")


def _inner(value):
    return value.inner if isinstance(value, Elsewhere) else value
