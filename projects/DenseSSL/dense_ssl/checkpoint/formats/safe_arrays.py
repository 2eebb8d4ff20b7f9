"""numpy's arrays and numbers in pickles, put together here instead of by numpy.

numpy believes what a pickle says about a dtype, the flags included that make it follow numbers as
pointers. What is read here are a dtype's letter and byte order, a shape and the bytes.
"""

import argparse
import pickle
import re

import numpy as np

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
    """Stands for ``numpy.dtype``: of numbers and text, neither of objects nor of records."""

    __slots__ = ("value",)

    def __init__(self, letter, align=False, copy=True):
        if not isinstance(letter, str) or not _NUMBER_OR_TEXT.fullmatch(letter):
            raise RefusedGlobal(f"numpy arrays of {letter!r}")
        self.value = np.dtype(letter)

    def __setstate__(self, state):
        if state[1] in ("<", ">"):
            self.value = self.value.newbyteorder(state[1])


class Array:
    """Stands for ``numpy.ndarray`` until :func:`resolve` takes the array out of it."""

    __slots__ = ("value",)

    def __init__(self, *args):
        self.value = None

    def __setstate__(self, state):
        shape, dtype, is_fortran, data = state[-4:]  # behind a version, since numpy 1.0
        self.value = assemble(data, dtype, shape, "F" if is_fortran else "C")


def assemble(data, dtype, shape, order="C"):
    """An array of its own memory, in this machine's byte order.

    Args:
        data: its bytes; text where Python 2 wrote them and they were read as latin1.
        dtype: DType.
        shape: tuple of int.
        order: "C" or "F", of the bytes.
    """
    data = data.encode("latin1") if isinstance(data, str) else bytes(data)
    values = np.frombuffer(data, dtype.value).reshape(shape, order=order)
    return np.array(values, dtype=dtype.value.newbyteorder("="), order="C")


def new_array(*args):
    """Stands for ``numpy.core.multiarray._reconstruct``: an array that is filled later."""
    return Array()


def new_number(dtype, data):
    """Stands for ``numpy.core.multiarray.scalar``."""
    return assemble(data, dtype, ())[()]


def resolve(value):
    """The content of a pickle with its arrays in place; containers are changed, not copied."""
    if isinstance(value, Array):
        if value.value is None:
            raise pickle.UnpicklingError("an array without content")
        return value.value
    if isinstance(value, DType):
        return value.value
    if isinstance(value, dict):
        for key, x in value.items():
            value[key] = resolve(x)
    elif isinstance(value, argparse.Namespace):
        resolve(vars(value))
    elif isinstance(value, list):
        value[:] = [resolve(x) for x in value]
    elif type(value) is tuple:
        return tuple(resolve(x) for x in value)
    return value
