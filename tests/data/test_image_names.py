"""Names in one block of memory: the same as a list of dicts, at a tenth of its size."""

import os
import pickle
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dense_ssl.data.image_names import (
    FileNames,
    NumberedImages,
    SourcedImages,
    images_by_source,
)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.text(max_size=12), max_size=8))
@example([os.fsdecode(b"caf\xe9.jpg"), "\ud800", "", "a"])
def test_any_names_come_back(names):
    """Also lone surrogates, which stand for bytes of a file name that are no UTF-8."""
    found = FileNames(names)
    assert list(found) == names and len(found) == len(names)
    assert list(pickle.loads(pickle.dumps(found))) == names


def test_it_is_a_sequence():
    names = [f"{i}.jpg" for i in range(7)]
    found = FileNames(names)
    assert found[-1] == "6.jpg" and found[1:6:2] == names[1:6:2] and found[::-1] == names[::-1]
    assert list(reversed(found)) == names[::-1] and "3.jpg" in found and found.index("3.jpg") == 3
    for index in (7, -8):
        with pytest.raises(IndexError, match="there are 7"):
            found[index]
    assert not FileNames([]) and FileNames([Path("a") / "b"])[0] == "a/b"


def test_images_know_their_number_and_their_data_set():
    numbered = NumberedImages(["a/0", "a/1"])
    assert list(numbered) == [{"file_name": f"a/{i}", "image_id": i} for i in range(2)]
    images = SourcedImages([("a", numbered), ("none", []), ("b", [{"file_name": "b/0", "x": 1}])])
    assert list(images) == [
        {"file_name": "a/0", "source": "a"}, {"file_name": "a/1", "source": "a"},
        {"file_name": "b/0", "source": "b"},
    ]  # fmt: skip
    assert images.ranges == [(0, 2), (2, 0), (2, 1)]
    expected = {"a": ["a/0", "a/1"], "b": ["b/0"]}
    for dicts in (SourcedImages([("a", numbered), ("b", images[2:])]), list(images)):
        found = images_by_source(dicts)
        assert {k: [x["file_name"] for x in v] for k, v in found.items()} == expected


def test_a_data_set_may_be_named_twice():
    images = SourcedImages([("a", [{"file_name": "0"}])] * 2)
    assert len(images) == 2 and [x["file_name"] for x in images] == ["0", "0"]


def test_it_takes_the_bytes_of_the_names_and_an_integer_each():
    count = 20000
    tracemalloc.start()
    try:
        images = SourcedImages([("a", NumberedImages(f"/data/{i:050d}.jpg" for i in range(count)))])
        size, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(images) == count and size < count * (60 + 8) * 1.1
    assert peak < 3 * size  # while it is built
