"""Reading a checkpoint never runs code from it, and says what is wrong with a file."""

import argparse
import collections
import importlib.util
import os
import pickle
import struct

import numpy as np
import pytest
import torch
from helpers import ROOT
from safetensors.torch import save_file
from torch import nn

from dense_ssl.checkpoint import Checkpointer
from dense_ssl.checkpoint.formats import CheckpointError, read_checkpoint
from dense_ssl.checkpoint.formats.safe_pickle import Array, DType

WEIGHTS = {"backbone.stem.conv1.weight": np.ones((2, 2), np.float32)}


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def write_pkl(protocol):
    def write(path, content):
        path.write_bytes(pickle.dumps(content, protocol))

    return write


def write_legacy(path, content):
    torch.save(content, path, _use_new_zipfile_serialization=False)


WRITERS = {
    "protocol2.pkl": write_pkl(2),
    "protocol4.pkl": write_pkl(4),
    "protocol5.pkl": write_pkl(5),
    "pickle_without_a_suffix": write_pkl(4),
    "zip.pth": lambda path, content: torch.save(content, path),
    "legacy.pth.tar": write_legacy,
}


class Tiny(nn.Module):
    """A model whose backbone is one convolution of a ResNet."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.stem = nn.Module()
        self.backbone.stem.conv1 = nn.Linear(2, 2, bias=False)


def load_as_weights(path, trust=False):
    Checkpointer(Tiny(), settings={}, check=False, trust=trust).load(str(path))


@pytest.mark.parametrize("name", WRITERS)
def test_hostile_files_are_refused_and_run_nothing(tmp_path, name):
    marker = tmp_path / "was_run"
    path = tmp_path / name
    WRITERS[name](path, {"model": {}, "__author__": "x", "extra": Hostile(marker)})
    with pytest.raises(CheckpointError, match=r"namely (posix|nt)\.system: .*with --trust"):
        read_checkpoint(path)
    if "." in name:  # MODEL.WEIGHTS
        with pytest.raises(CheckpointError, match=r"\.system: .*with MODEL.TRUST_WEIGHTS True"):
            load_as_weights(path)
    assert not marker.exists()
    read_checkpoint(path, trust=True)
    assert marker.exists()


def test_the_tool_runs_nothing_unless_told_to(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("convert", ROOT / "tools" / "convert_weights.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    marker, path = tmp_path / "was_run", tmp_path / "x.pkl"
    write_pkl(4)(path, {"model": {}, "extra": Hostile(marker)})
    assert tool.main([str(path)]) == 1 and not marker.exists()
    assert "system" in capsys.readouterr().err
    assert tool.main([str(path), "--trust"]) == 1  # there is no network in it
    assert marker.exists()


def test_trust_is_a_key_of_the_config(tmp_path):
    marker, path = tmp_path / "was_run", tmp_path / "x.pkl"
    model = {"stem.conv1.weight": WEIGHTS["backbone.stem.conv1.weight"]}
    write_pkl(4)(path, {"model": model, "__author__": "x", "extra": Hostile(marker),
                        "matching_heuristics": True})  # fmt: skip
    load_as_weights(path, trust=True)
    assert marker.exists()


def global_opcode(module, name):
    return b"c" + f"{module}\n{name}\n".encode()


# pickles by hand: what is called, with what, and what is set on it
CRAFTED = {
    "builtins.eval": global_opcode("builtins", "eval") + b"(V1\ntR.",
    "builtins.getattr": global_opcode("builtins", "getattr") + b"(V1\nVreal\ntR.",
    "torch.hub.load": global_opcode("torch", "hub.load") + b"(V1\ntR.",
    "python 2 names": global_opcode("__builtin__", "eval") + b"(V1\ntR.",
    "a codec of the file's choice": global_opcode("_codecs", "encode") + b"(Vx\nVrot13\ntR.",
    "arrays of objects": global_opcode("numpy", "dtype") + b"(VO8\ntR.",
    "records": global_opcode("numpy", "dtype") + b"(VV8\ntR.",
    "attributes of a function": global_opcode("torch._utils", "_rebuild_tensor_v2")
    + b"(N}V__doc__\nVx\nstb.",
    "attributes of a class": global_opcode("numpy", "dtype") + b"(N}V__init__\nVx\nstb.",
    "an array that is never filled": global_opcode("numpy", "ndarray") + b"(tR.",
}


@pytest.mark.parametrize("name", CRAFTED)
def test_what_a_pickle_may_not_do(tmp_path, name):
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02" + CRAFTED[name])
    before = torch._utils._rebuild_tensor_v2.__doc__, DType.__init__
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert (torch._utils._rebuild_tensor_v2.__doc__, DType.__init__) == before


def test_a_dtype_takes_no_flags_from_a_file():
    dtype = DType("f8")
    # object flags on a double would make numpy follow numbers as pointers
    dtype.__setstate__((3, "<", None, None, None, 8, 8, 63))
    assert dtype.value == np.dtype("<f8") and not dtype.value.hasobject
    array = Array()
    with pytest.raises(ValueError, match="reshape"):
        array.__setstate__((1, (1000,), dtype, False, b"\0" * 8))


class Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings, as in detectron2's model zoo."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_bytes(self, data):
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(data)

    dispatch[bytes] = save_bytes


ARRAYS = {
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    "half": np.linspace(0, 1, 5).astype(np.float16),
    "big endian": np.arange(3, dtype=">i4"),
    "bool": np.array([True, False]),
    "text": np.array(["person", "car"]),
    "no axes": np.array(2.5),
    "empty": np.zeros((0, 3), np.float32),
    "all bytes": np.arange(256, dtype=np.uint8),
}


@pytest.mark.parametrize("writer", [*WRITERS, "numpy1.pkl", "python2.pkl"])
def test_harmless_content_is_read_as_it_was(tmp_path, writer):
    content = {
        **ARRAYS, "nested": {"x": [np.ones(2), (np.zeros(1),)]}, "number": np.float64(0.25),
        "int": np.int64(7), "ordered": collections.OrderedDict(a=1), "tensor": torch.arange(3.0),
        "parameter": nn.Parameter(torch.ones(2)), "plain": [1, 2.5, "x", None, True, (1,)],
    }  # fmt: skip
    path = tmp_path / writer
    if writer == "numpy1.pkl":
        data = pickle.dumps(content, 2)
        assert b"numpy._core" in data or b"numpy.core" in data
        path.write_bytes(data.replace(b"numpy._core", b"numpy.core"))
    elif writer == "python2.pkl":
        content.pop("tensor"), content.pop("parameter")  # Python 2's torch is not at hand
        with open(path, "wb") as file:
            Python2Pickler(file, 2).dump(content)
    else:
        WRITERS[writer](path, content)
    found = read_checkpoint(path)
    assert list(found) == list(content)
    for name, x in ARRAYS.items():
        assert isinstance(found[name], np.ndarray) and found[name].flags.writeable
        assert np.array_equal(found[name], x) and found[name].shape == x.shape, name
        assert found[name].dtype == x.dtype.newbyteorder("=")
    x, (y,) = found["nested"]["x"]
    assert np.array_equal(x, np.ones(2)) and np.array_equal(y, np.zeros(1))
    assert found["number"] == 0.25 and found["int"] == 7
    for name in ("ordered", "plain"):
        assert found[name] == content[name] and type(found[name]) is type(content[name])
    if "tensor" in content:
        assert torch.equal(found["tensor"], content["tensor"])
        assert torch.equal(found["parameter"], content["parameter"])


def test_what_training_scripts_keep_is_read(tmp_path):
    options = argparse.Namespace(lr=0.1, best=np.float64(71.5), classes=np.arange(3))
    state = {"model": {"w": torch.ones(2)}, "args": options, "acc": np.float32(0.5),
             "rng": np.random.get_state()}  # fmt: skip
    torch.save(state, tmp_path / "x.pth")
    found = read_checkpoint(tmp_path / "x.pth")
    assert found["args"].lr == 0.1 and found["args"].best == 71.5
    assert np.array_equal(found["args"].classes, [0, 1, 2])
    assert found["acc"] == 0.5 and np.array_equal(found["rng"][1], state["rng"][1])


def test_a_whole_module_is_refused_by_name_and_read_on_trust(tmp_path):
    path = tmp_path / "module.pth"
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(CheckpointError, match=r"namely torch.nn.modules.linear.Linear.*state_dict"):
        read_checkpoint(path)
    assert set(read_checkpoint(path, trust=True)) == {"weight", "bias"}


def test_safetensors_are_read(tmp_path):
    save_file({"a.weight": torch.arange(4.0)}, tmp_path / "x.safetensors")
    found = read_checkpoint(tmp_path / "x.safetensors")
    assert list(found) == ["a.weight"] and torch.equal(found["a.weight"], torch.arange(4.0))


def truncated(tmp_path, kind):
    path = tmp_path / f"cut{kind}"
    state = {"w": torch.rand(200, 50)}
    if kind == ".pth":
        torch.save(state, path)
    elif kind == ".pth.tar":
        write_legacy(path, state)
    elif kind == ".pkl":
        write_pkl(4)(path, {"w": np.random.rand(200, 50)})
    else:
        save_file(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


@pytest.mark.parametrize("kind", [".pth", ".pth.tar", ".pkl", ".safetensors"])
def test_truncated_files_are_called_so(tmp_path, kind):
    path = truncated(tmp_path, kind)
    size = path.stat().st_size
    with pytest.raises(CheckpointError, match=f"cannot be read .*damaged, or cut off at {size} by"):
        read_checkpoint(path)
    with pytest.raises(CheckpointError, match="cut off"):
        load_as_weights(path)


def npz(path):
    with open(path, "wb") as file:
        np.savez(file, a=np.ones(2))


OTHERS = {
    "empty": (lambda path: path.write_bytes(b""), "is empty: was its writing"),
    "page": (lambda path: path.write_text("<!DOCTYPE html><html>404</html>"), "a web page or XML"),
    "pointer": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
                "run `git lfs pull`"),
    "gzip": (lambda path: path.write_bytes(b"\x1f\x8b\x08\0\0"), "gzip archive: unpack it"),
    "keras": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "HDF5"),
    "savez": (npz, "numpy's savez"),
    "image": (lambda path: path.write_bytes(b"\xff\xd8\xff\xe0 jpeg"), "is not a known checkpoint"),
    "text.pkl": (lambda path: path.write_text("hello"), "cannot be read"),
    "list.pth": (lambda path: torch.save([1, 2], path), "holds a list of 2, not a dict"),
    "tensor.pth": (lambda path: torch.save(torch.ones(2), path), "holds a Tensor, not a dict"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_are_called_what_they_are(tmp_path, name):
    write, message = OTHERS[name]
    write(tmp_path / name)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file .*x.pth"):
        read_checkpoint(tmp_path / "x.pth")


def test_a_folder_and_an_address_are_named(tmp_path, monkeypatch):
    checkpointer = Checkpointer(nn.Linear(2, 2), settings={})
    with pytest.raises(FileNotFoundError, match="a folder: set it to the file of the weights[.]"):
        checkpointer.load(str(tmp_path))
    (tmp_path / "backbone.pkl").touch()
    with pytest.raises(FileNotFoundError, match="such as .*/backbone.pkl"):
        checkpointer.load(str(tmp_path))

    def fail(path):
        raise OSError("Name or service not known")

    monkeypatch.setattr("dense_ssl.checkpoint.weights_path.PathManager.get_local_path", fail)
    with pytest.raises(ValueError, match="'https://a.b/c.pkl' cannot be fetched .*Name or service"):
        checkpointer.load("https://a.b/c.pkl")
