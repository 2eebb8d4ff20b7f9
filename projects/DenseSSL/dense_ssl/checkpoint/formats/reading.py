"""Checkpoint files of every kind, read without running code from them."""

import json
import os
import pickle
import re
import zipfile
from collections.abc import Mapping

import torch
from torch import nn

from .safe_pickle import RefusedGlobal, harmless_globals, load_pickle

# How torch.save wrote before it wrote zip files: a pickled number.
_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_WRITTEN_BY = {"torch": "torch.save", "pickle": "pickle", "safetensors": "safetensors"}
_OTHER_KINDS = {
    b"version https://git-lfs": "a pointer of git-lfs, not the file itself: run `git lfs pull`",
    b"<": "a web page or XML, not weights: was the download refused?",
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"\x89HDF": "an HDF5 file (Keras?), which is not read here",
}


class CheckpointError(ValueError):
    """A file that cannot be read as a checkpoint, or that holds no ResNet."""


def read_checkpoint(path, trust=False, how_to_trust="--trust"):
    """Read a checkpoint file; its content decides what kind it is, not its name.

    Args:
        path: file of torch.save, a pickle, or safetensors.
        trust: let the file run code (``pickle`` without limits).
        how_to_trust: the option to name in the error.

    Returns:
        dict; for a safetensors file {name: tensor}, and "dense_ssl" with what this project wrote
        into its header.

    Raises:
        FileNotFoundError, CheckpointError.
    """
    kind = _kind_of(path)
    try:
        data = _READERS[kind](path, trust)
    except (ImportError, MemoryError, PermissionError):
        raise
    except Exception as error:  # each reader has its own errors for a damaged file
        names = _refused_names(path, kind, error)
        raise (_refused(path, names, how_to_trust) if names else _broken(path, kind, error)) from (
            None if names else error
        )
    if isinstance(data, nn.Module):
        data = data.state_dict()
    if not isinstance(data, Mapping):
        size = f" of {len(data)}" if isinstance(data, (list, tuple)) else ""
        raise CheckpointError(f"{path} holds a {type(data).__name__}{size}, not a dict of tensors.")
    return data


def _kind_of(path):
    """Return 'torch', 'pickle' or 'safetensors', from the first bytes of a file."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no file {path}.")
    if os.path.getsize(path) == 0:
        raise CheckpointError(f"{path} is empty: was its writing or its download cut off?")
    with open(path, "rb") as file:
        head = file.read(64)
    if head.startswith((b"PK\x03\x04", _LEGACY_TORCH)):
        return "torch"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000:
        return "safetensors"
    for start, meaning in _OTHER_KINDS.items():
        if head.startswith(start):
            raise CheckpointError(f"{path} is {meaning}.")
    if head.startswith(b"\x80") or str(path).endswith((".pkl", ".pickle")):
        return "pickle"
    raise CheckpointError(
        f"{path} is not a known checkpoint (it starts with {head[:8]!r}): neither a file of "
        "torch.save, nor a pickle, nor safetensors."
    )


def _read_torch(path, trust):
    if trust:
        return torch.load(path, map_location="cpu", weights_only=False)
    with harmless_globals():
        return torch.load(path, map_location="cpu", weights_only=True)


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
    if "dense_ssl" in metadata:
        tensors["dense_ssl"] = json.loads(metadata["dense_ssl"])
    return tensors


_READERS = {"torch": _read_torch, "pickle": _read_pickle, "safetensors": _read_safetensors}


def _refused_names(path, kind, error):
    """Return what a file names that is not data; [] where the file is damaged instead."""
    if isinstance(error, RefusedGlobal):
        return [error.name]
    if kind != "torch" or not isinstance(error, pickle.UnpicklingError):
        return []
    try:  # only torch 2.5 and later, and only zip files; else the message names the first
        with harmless_globals():
            names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:
        names = []
    found = re.search(r"refused (.+)|(?:GLOBAL|global|function|class) `?([\w.]+\.\w+)", str(error))
    return names or ([found[1] or found[2]] if found else [])


def _refused(path, names, how_to_trust):
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return CheckpointError(
        f"{path} holds more than weights, namely {shown}: reading that could run any code, so it "
        f"was not read. If you trust whoever made the file, read it with {how_to_trust}; or save "
        "only the model's state_dict() where the file comes from."
    )


def _broken(path, kind, error):
    if kind == "torch" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(x.endswith(".npy") for x in archive.namelist()):
                return CheckpointError(f"{path} is an archive of numpy's savez: not read here.")
    text = str(error).split("WeightsUnpickler error: ")[-1]  # after a page of advice
    text = (text.strip() or type(error).__name__).splitlines()[0]
    return CheckpointError(
        f"{path} looks like a file of {_WRITTEN_BY[kind]}, but cannot be read ({text}): it is "
        f"damaged, or cut off at {os.path.getsize(path)} bytes. Download or write it again."
    )
