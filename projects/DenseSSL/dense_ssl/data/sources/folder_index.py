"""The names of the images of a large folder, kept on disk while none of its folders changes.

To list a million files takes seconds on a local disk and minutes on a network's. A folder's times
say whether files were added, renamed or deleted in it, and there are far fewer folders.
"""

import contextlib
import hashlib
import json
import logging
import os
from dataclasses import dataclass, field

import numpy as np
from detectron2.utils import comm

from ...utils.atomic_file import atomic_file
from ...utils.printable import printable
from ..image_names import FileNames
from .check_cache import VERSION, cache_folder

logger = logging.getLogger(__name__)

LEAST_IMAGES = 100_000  # fewer are listed in less than a second
# Seconds. A folder that changed so lately may change again without a new time.
SETTLED = 10


@dataclass
class Listing:
    """What a folder holds.

    Attributes:
        names: :class:`~dense_ssl.data.image_names.FileNames`.
        others: {extension: number} of files that are no images.
        folders: list of [path, :func:`state_of` it] of the folder and all below it.
        begin: when the listing began, as ``time.time()``.
        links: number of links, other than those to folders.
    """

    names: FileNames
    others: dict
    folders: list = field(default_factory=list)
    begin: float = 0.0
    links: int = 0


def state_of(status):
    """Return the part of a folder's ``os.stat`` that says whether its entries may have changed.

    The time of change of its entries can be set back (tar, rsync -a, cp -p), that of its own
    record cannot.
    """
    return [status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def read_index(folder, kinds):
    """Return the :class:`Listing` of a folder if it is kept and current, else None.

    Args:
        folder: as it was named when it was listed.
        kinds: extensions of images.
    """
    path = _path(folder, kinds)
    try:
        with np.load(path) as file:
            header = json.loads(file["header"].tobytes())
            if any(state_of(os.stat(x)) != state for x, state in header["folders"]):
                return None
            names = FileNames.of(file["text"], file["ends"])
            listing = Listing(names, header["others"], header["folders"])
    except Exception:  # a damaged file can raise anything; the folder is listed again
        return None
    logger.info("%s: %d images by the list of before, as no folder has changed (%s)",
                printable(folder), len(names), path)  # fmt: skip
    return listing


def write_index(folder, kinds, listing):
    """Keep a :class:`Listing`, unless it is short or a folder may be changing just now.

    Arguments as of :func:`read_index`.
    """
    latest = max(max(state[:2]) for _, state in listing.folders) / 1e9
    if len(listing.names) < LEAST_IMAGES or listing.begin - latest < SETTLED:
        return
    if not comm.is_main_process():
        return
    header = json.dumps({"others": listing.others, "folders": listing.folders}).encode()
    path = _path(folder, kinds)
    # one that cannot be written is no error: the folder is listed again
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            np.savez_compressed(
                file, header=np.frombuffer(header, np.uint8), **listing.names.arrays()
            )


def _path(folder, kinds):
    key = f"{VERSION} {sorted(kinds)} {folder} {os.path.abspath(folder)}"
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return cache_folder() / f"{digest}.npz"
