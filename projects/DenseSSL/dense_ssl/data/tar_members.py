"""Files in tar archives as paths of iopath, so that every reader of files reads them too."""

import io
import os
import re

from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler

PREFIX = "tar://"
# The path of an archive may hold any character, so the last "!" ends it.
_PATH = re.compile(
    rf"{PREFIX}(?P<archive>.+)!(?P<name>[^!]+)@(?P<start>\d+)\+(?P<size>\d+)", re.DOTALL
)


def member_path(archive, name, start, size):
    """Return the path of a file in a tar archive.

    Args:
        archive: path of an archive that is not compressed.
        name: of the file in it; for messages.
        start, size: its bytes in the archive.
    """
    return f"{PREFIX}{archive}!{name.replace('!', '_')}@{start}+{size}"


def file_of(path):
    """Return the file on disk that holds a path: the archive of a member, else the path itself."""
    match = _PATH.fullmatch(os.fspath(path))
    return match["archive"] if match else path


def name_in_archive(path):
    """Return the name of a member in its archive; "" for other paths."""
    match = _PATH.fullmatch(os.fspath(path))
    return match["name"] if match else ""


class TarMembers(PathHandler):
    """Opens the paths of :func:`member_path`."""

    def _get_supported_prefixes(self):
        return [PREFIX]

    def _open(self, path, mode="r", buffering=-1, **kwargs):
        match = _PATH.fullmatch(path)
        if match is None:
            raise ValueError(f"{path!r} does not name the bytes of a file in a tar archive.")
        if mode != "rb":
            raise ValueError(f"{path!r} can only be opened to read bytes.")
        size = int(match["size"])
        with open(match["archive"], "rb") as archive:
            archive.seek(int(match["start"]))
            data = archive.read(size)
        if len(data) < size:
            raise OSError(f"the archive {match['archive']!r} ends in the middle of this file")
        return io.BytesIO(data)


PathManager.register_handler(TarMembers(), allow_override=True)
