"""Checkpoint files of every kind, read without running code from them."""

import json
import os
import pickle
import re
import zipfile
from collections.abc import Mapping

import torch
from torch import nn

from .safe_arrays import RefusedGlobal
from .safe_pickle import harmless_globals, load_pickle, load_torch

# How torch.save wrote before it wrote zip files: a pickled number.
_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_PICKLE = b"\x80"
_METADATA_KEY = "dense_ssl"

_OTHER_KINDS = {
    b"version https://git-lfs": "a pointer of git-lfs, not the file itself: run `git lfs pull`",
    b"<": "a web page or XML, not weights: was the download refused?",
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"\x89HDF": "an HDF5 file (Keras?), which is not read here",
}


class CheckpointError(ValueError):
    """A file that cannot be read as a checkpoint, or not as one of a ResNet."""


def read_checkpoint(path, trust=False, how_to_trust="--trust"):
    """The content of a checkpoint file, by what the file is and not by how it is called.

    Args:
        path: file of torch.save, a pickle, or safetensors.
        trust: let the file run code (``pickle`` without limits).
        how_to_trust: what to tell a user who wants that.

    Returns:
        dict; of a safetensors file {name: tensor}, with a "dense_ssl" of what this project wrote
        into its header.

    Raises:
        FileNotFoundError, CheckpointError.
    """
    kind = _kind_of(path)
    try:
        data = _READERS[kind](path, trust)
    except RefusedGlobal as error:
        raise _refused(path, [error.name], how_to_trust) from None
    except pickle.UnpicklingError as error:
        names = _refused_by_torch(path, str(error)) if kind == "torch" else []
        if names:
            raise _refused(path, names, how_to_trust) from None
        raise _broken(path, kind, error) from error
    except (ImportError, MemoryError, PermissionError):
        raise
    except Exception as error:  # each reader has its own errors for the same: the file is damaged
        raise _broken(path, kind, error) from error
    if isinstance(data, nn.Module):
        data = data.state_dict()
    if not isinstance(data, Mapping):
        raise CheckpointError(f"{path} holds {_described(data)}, not a dict of tensors.")
    return data


def _kind_of(path):
    """'torch', 'pickle' or 'safetensors', from the first bytes of a file."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no file {path}.")
    size = os.path.getsize(path)
    if size == 0:
        raise CheckpointError(f"{path} is empty: was its writing or its download cut off?")
    with open(path, "rb") as file:
        head = file.read(64)
    if head.startswith((b"PK\x03\x04", _LEGACY_TORCH)):
        return "torch"
    header = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and header < 100_000_000:
        return "safetensors"
    for start, meaning in _OTHER_KINDS.items():
        if head.startswith(start):
            raise CheckpointError(f"{path} is {meaning}.")
    if head.startswith(_PICKLE) or str(path).endswith((".pkl", ".pickle")):
        return "pickle"
    raise CheckpointError(
        f"{path} is no checkpoint that is known here (it starts with {head[:8]!r}): neither a file "
        "of torch.save, nor a pickle, nor safetensors."
    )


def _read_torch(path, trust):
    if trust:
        return torch.load(path, map_location="cpu", weights_only=False)
    return load_torch(path)


def _read_pickle(path, trust):
    with open(path, "rb") as file:
        return pickle.load(file, encoding="latin1") if trust else load_pickle(file)


def _read_safetensors(path, trust):
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise ImportError("safetensors files need the package: pip install safetensors") from error
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata() or {}
    if _METADATA_KEY not in metadata:
        return tensors
    return {**tensors, _METADATA_KEY: json.loads(metadata[_METADATA_KEY])}


_READERS = {"torch": _read_torch, "pickle": _read_pickle, "safetensors": _read_safetensors}


def _refused_by_torch(path, message):
    """What a file of torch.save names that its weights-only reader refuses."""
    if hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        try:
            with harmless_globals():
                names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        except Exception:  # older formats are not listed; the message names the first
            names = []
        if names:
            return sorted(names)
    found = re.search(r"refused (.+)|(?:GLOBAL|global|function|class) `?([\w.]+\.\w+)", message)
    return [found[1] or found[2]] if found else []


def _refused(path, names, how_to_trust):
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return CheckpointError(
        f"{path} holds more than weights, namely {shown}: reading that may run any code, so it was "
        "not read. If you know who made the file, either read it all the same with "
        f"{how_to_trust}, or where it comes from save its state_dict() alone."
    )


def _broken(path, kind, error):
    if kind == "torch" and zipfile.is_zipfile(path) and _is_npz(path):
        return CheckpointError(f"{path} is an archive of numpy's savez, which is not read here.")
    text = str(error).split("WeightsUnpickler error: ")[-1]  # behind a page of advice
    text = (text.strip() or type(error).__name__).splitlines()[0]
    return CheckpointError(
        f"{path} looks like a file of {_WRITTEN_BY[kind]}, but cannot be read ({text}): it is "
        f"damaged, or cut off at {os.path.getsize(path)} bytes. Fetch or write it again."
    )


_WRITTEN_BY = {"torch": "torch.save", "pickle": "pickle", "safetensors": "safetensors"}


def _is_npz(path):
    with zipfile.ZipFile(path) as archive:
        return any(x.endswith(".npy") for x in archive.namelist())


def _described(data):
    name = type(data).__name__
    return f"a {name} of {len(data)}" if isinstance(data, (list, tuple)) else f"a {name}"
