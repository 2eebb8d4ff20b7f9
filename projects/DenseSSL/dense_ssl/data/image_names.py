"""The names of many images in one block of memory.

A million dicts take 500 MB in every process, and forked workers soon have copies of their own, as
reference counts lie beside the values. A block takes the bytes of the names, once for all workers.
"""

import os
from abc import abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

# Keeps what a file system or a json may have in a name: bytes that are no UTF-8 as well.
_CODEC = "utf-8", "surrogatepass"


class _Lazy(Sequence):
    """A sequence whose values are made when they are asked for."""

    @abstractmethod
    def at(self, index):
        """Return the value at an index from 0 to the length."""

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self.at(i) for i in range(*index.indices(len(self)))]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"no image {index}, there are {len(self)}")
        return self.at(int(place))


class FileNames(_Lazy):
    """Texts, unchangeable."""

    def __init__(self, names):
        """
        Args:
            names: iterable of str or path.
        """
        text, ends = bytearray(), array("Q", [0])
        for name in names:
            text += os.fspath(name).encode(*_CODEC)
            ends.append(len(text))
        self._text = np.frombuffer(bytes(text), dtype=np.uint8)
        self._ends = np.frombuffer(ends, dtype=np.uint64)

    @classmethod
    def of(cls, text, ends):
        """Return the texts of :meth:`arrays`."""
        names = cls(())
        names._text, names._ends = text, ends
        return names

    def arrays(self):
        """Return {"text": bytes of all, (N,) uint8, "ends": where each ends, after a 0}."""
        return {"text": self._text, "ends": self._ends}

    def __len__(self):
        return len(self._ends) - 1

    def at(self, index):
        start, end = self._ends[index : index + 2].tolist()
        return self._text[start:end].tobytes().decode(*_CODEC)


class NumberedImages(_Lazy):
    """Dicts with ``file_name`` and ``image_id``, the position in the list."""

    def __init__(self, names):
        """
        Args:
            names: iterable of str, or :class:`FileNames`.
        """
        self.names = names if isinstance(names, FileNames) else FileNames(names)

    def __len__(self):
        return len(self.names)

    def at(self, index):
        return {"file_name": self.names.at(index), "image_id": index}


class SourcedImages(_Lazy):
    """Dicts with ``file_name`` and ``source``, the images of several data sets."""

    def __init__(self, parts):
        """
        Args:
            parts: list of (name of a data set, iterable of dicts with ``file_name``).
        """
        self.sources = [source for source, _ in parts]
        self._parts = [
            x if isinstance(x, NumberedImages) else NumberedImages(y["file_name"] for y in x)
            for _, x in parts
        ]
        self._starts = [0, *np.cumsum([len(x) for x in self._parts]).tolist()]

    @property
    def parts(self):
        """List of (name of a data set, its images as :class:`NumberedImages`)."""
        return list(zip(self.sources, self._parts))

    @property
    def ranges(self):
        """List of (first index, number of images) of each data set."""
        return [(start, len(x)) for start, x in zip(self._starts, self._parts)]

    def __len__(self):
        return self._starts[-1]

    def at(self, index):
        i = bisect_right(self._starts, index) - 1
        name = self._parts[i].names.at(index - self._starts[i])
        return {"file_name": name, "source": self.sources[i]}


def images_by_source(dicts):
    """Return {name of a data set: its images} of :class:`SourcedImages`, or of a list like it."""
    if isinstance(dicts, SourcedImages):
        return dict(dicts.parts)
    found = {}
    for item in dicts:
        found.setdefault(item["source"], []).append(item)
    return found
