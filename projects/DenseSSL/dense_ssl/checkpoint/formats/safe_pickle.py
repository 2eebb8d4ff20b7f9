"""Pickles of arrays and tensors, read without running what they name.

A pickle is a program: it may name any function and call it. The unpickler here knows the few names
that arrays, tensors and plain containers need, and refuses every other one.
"""

import argparse
import collections
import io
import pickle
from contextlib import nullcontext

import torch

from .safe_arrays import Array, DType, RefusedGlobal, assemble, new_array, new_number, resolve


class _Sealed:
    """A function that a pickle can call, but cannot set attributes of."""

    __slots__ = ("_function",)

    def __init__(self, function):
        object.__setattr__(self, "_function", function)

    def __call__(self, *args):
        return self._function(*args)

    def __setattr__(self, name, value):
        raise pickle.UnpicklingError(f"a function's attribute {name} is not data")


def _encode(text, encoding="utf-8"):
    """Bytes that protocol 2 wrote as text; no other codec is called on what a file says."""
    if encoding not in ("latin1", "latin-1", "utf-8"):
        raise RefusedGlobal(f"_codecs.encode with {encoding!r}")
    return text.encode(encoding)


def _no_bytes():
    """How protocol 2 writes bytes of length 0."""
    return b""


def _load_storage(data):
    """The storage of a tensor that was pickled without torch.save."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


# numpy 2 renamed the module; files name it as the numpy did that wrote them
_NUMPY = {("numpy", "ndarray"): Array, ("numpy", "dtype"): DType}
_BUILTINS = ("builtins", "__builtin__")  # of Python 3 and 2
for _core in ("numpy.core", "numpy._core"):
    _NUMPY[f"{_core}.multiarray", "_reconstruct"] = new_array
    _NUMPY[f"{_core}.multiarray", "scalar"] = new_number

_ALLOWED = {
    **{name: x if isinstance(x, type) else _Sealed(x) for name, x in _NUMPY.items()},
    ("numpy.core.numeric", "_frombuffer"): _Sealed(assemble),
    ("numpy._core.numeric", "_frombuffer"): _Sealed(assemble),
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("_codecs", "encode"): _Sealed(_encode),
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_tensor_v2"): _Sealed(torch._utils._rebuild_tensor_v2),
    ("torch._utils", "_rebuild_parameter"): _Sealed(torch._utils._rebuild_parameter),
    ("torch.storage", "_load_from_bytes"): _Sealed(_load_storage),
}
for _builtins in _BUILTINS:
    _ALLOWED[_builtins, "bytes"] = _Sealed(_no_bytes)
    for _type in (bytearray, complex, frozenset, set):
        _ALLOWED[_builtins, _type.__name__] = _type


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise RefusedGlobal(f"{module}.{name}") from None


def load_pickle(file):
    """The content of a pickle of arrays, tensors and plain containers.

    Args:
        file: opened for reading bytes; Python 2's pickles are read as latin1, as detectron2 does.

    Raises:
        RefusedGlobal: it names something else. Nothing of it has been called.
    """
    return resolve(_Unpickler(file, encoding="latin1").load())


def load_torch(path):
    """The content of a file of torch.save: its weights-only reading, and a little more.

    Training scripts keep their argparse.Namespace and numpy's numbers beside the weights; those
    are harmless and read as well.

    Raises:
        pickle.UnpicklingError: it names something else. Nothing of it has been called.
    """
    with harmless_globals():
        return resolve(torch.load(path, map_location="cpu", weights_only=True))


def harmless_globals():
    """Context in which weights-only reading also takes the harmless values of real files."""
    if not hasattr(torch.serialization, "safe_globals"):  # torch before 2.5
        return nullcontext()
    names = [(x, ".".join(name)) for name, x in _NUMPY.items()]
    names += [(_no_bytes, f"{builtins}.bytes") for builtins in _BUILTINS]
    return torch.serialization.safe_globals([argparse.Namespace, *names])
