"""Pickles of arrays and tensors, read without running what they name.

A pickle is a program: it can name any function and call it. The unpickler here knows the few names
that arrays, tensors and plain containers need and refuses all others. numpy itself trusts what a
pickle says about a dtype, including flags that make it treat numbers as pointers; so a dtype is
reduced to its letter and byte order here.
"""

import argparse
import collections
import io
import pickle
import re
from contextlib import nullcontext

import numpy as np
import torch

_NUMBER_OR_TEXT = re.compile(r"[<>=|]?([biufc]\d{1,2}|[SU]\d{1,6})")


class RefusedGlobal(pickle.UnpicklingError):
    """A pickle names something other than arrays, tensors and containers.

    Attributes:
        name: what it names, such as ``posix.system``.
    """

    def __init__(self, name):
        super().__init__(f"refused {name}")
        self.name = name


class DType:
    """Replaces ``numpy.dtype``: numbers and text only, no objects and no records."""

    def __init__(self, letter, align=False, copy=True):
        if not isinstance(letter, str) or not _NUMBER_OR_TEXT.fullmatch(letter):
            raise RefusedGlobal(f"numpy arrays of {letter!r}")
        self.value = np.dtype(letter)

    def __setstate__(self, state):
        if state[1] in ("<", ">"):
            self.value = self.value.newbyteorder(state[1])


class Array(np.ndarray):
    """Replaces ``numpy.ndarray``: starts empty, is filled with values that are checked first."""

    def __new__(cls, *args):
        return super().__new__(cls, (0,))

    def __setstate__(self, state):
        shape, dtype, is_fortran, data = state[-4:]  # after a version, since numpy 1.0
        values = _from_buffer(data, dtype, shape, "F" if is_fortran else "C")
        super().__setstate__(values.__reduce__()[2])

    def __reduce__(self):
        return np.array(self, subok=False).__reduce__()


class _Function:
    """A function that a pickle can call but not change."""

    def __init__(self, function):
        self.function = function

    def __call__(self, *args):
        return self.function(*args)

    def __setstate__(self, state):
        raise pickle.UnpicklingError("a function has no state")


def _from_buffer(data, dtype, shape, order="C"):
    """Return an array with its own memory, in this machine's byte order."""
    data = data.encode("latin1") if isinstance(data, str) else data  # str: from Python 2
    values = np.frombuffer(data, dtype.value).reshape(shape, order=order)
    return np.array(values, dtype=dtype.value.newbyteorder("="), order="C")


def _number(dtype, data):
    return _from_buffer(data, dtype, ())[()]


def _encode(text, encoding="utf-8"):
    """Return the bytes that protocol 2 wrote as text; no other codec is called."""
    if encoding not in ("latin1", "latin-1", "utf-8"):
        raise RefusedGlobal(f"_codecs.encode with {encoding!r}")
    return text.encode(encoding)


def _load_storage(data):
    """Return the storage of a tensor that was pickled without torch.save."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


_NUMPY = {"numpy.ndarray": Array, "numpy.dtype": DType}
for _core in ("numpy.core", "numpy._core"):  # numpy 2 renamed the module
    _NUMPY[f"{_core}.multiarray._reconstruct"] = _Function(lambda *args: Array())
    _NUMPY[f"{_core}.multiarray.scalar"] = _Function(_number)
_BYTES = {"builtins.bytes": bytes, "__builtin__.bytes": bytes}  # protocol 2 writes b"" as bytes()
_ALLOWED = {
    **_NUMPY,
    **_BYTES,
    "numpy.core.numeric._frombuffer": _Function(_from_buffer),
    "numpy._core.numeric._frombuffer": _Function(_from_buffer),
    "collections.OrderedDict": collections.OrderedDict,
    "_codecs.encode": _Function(_encode),
    "torch.Size": torch.Size,
    "torch._utils._rebuild_tensor_v2": _Function(torch._utils._rebuild_tensor_v2),
    "torch._utils._rebuild_parameter": _Function(torch._utils._rebuild_parameter),
    "torch.storage._load_from_bytes": _Function(_load_storage),
}
for _type in (bytearray, complex, frozenset, set):
    for _module in ("builtins", "__builtin__"):  # of Python 3 and 2
        _ALLOWED[f"{_module}.{_type.__name__}"] = _type


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        try:
            return _ALLOWED[f"{module}.{name}"]
        except KeyError:
            raise RefusedGlobal(f"{module}.{name}") from None


def load_pickle(file):
    """Read a pickle of arrays, tensors and plain containers.

    Args:
        file: opened for reading bytes; Python 2's pickles are read as latin1, as in detectron2.

    Raises:
        RefusedGlobal: it names something else. Nothing of it has been called.
    """
    return _Unpickler(file, encoding="latin1").load()


def harmless_globals():
    """Context in which torch's weights-only reading also takes what training scripts keep.

    That is an ``argparse.Namespace`` and numpy's arrays and numbers.
    """
    if not hasattr(torch.serialization, "safe_globals"):  # torch 2.4
        return nullcontext()
    names = [(x, name) for name, x in {**_NUMPY, **_BYTES}.items()]
    return torch.serialization.safe_globals([argparse.Namespace, *names])
