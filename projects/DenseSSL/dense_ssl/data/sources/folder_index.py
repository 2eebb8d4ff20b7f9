"""The names of the images of a large folder, kept on disk while none of its folders changes.

To list a million files takes seconds on a local disk and minutes on a network's. A folder's time
of change says whether files were added, renamed or deleted in it, and there are far fewer folders.
"""

import contextlib
import hashlib
import json
import os
import time
import zipfile
from dataclasses import dataclass, field

import numpy as np
from detectron2.utils import comm

from ..image_names import FileNames
from .check_cache import VERSION, cache_folder

LEAST_IMAGES = 100_000  # fewer are listed in less than a second
# Seconds. A folder that changed so lately may change again without a new time.
SETTLED = 10


@dataclass
class Listing:
    """What a folder holds.

    Attributes:
        names: :class:`~dense_ssl.data.image_names.FileNames`.
        others: {extension: number} of files that are no images.
        folders: list of [path, time of change in nanoseconds] of the folder and all below it.
        links: number of images that are links.
    """

    names: FileNames
    others: dict
    folders: list = field(default_factory=list)
    links: int = 0


def read_index(folder):
    """Return the :class:`Listing` of a folder if it is kept and current, else None."""
    try:
        with np.load(_path(folder)) as file:
            header = json.loads(file["header"].tobytes())
            if any(os.stat(path).st_mtime_ns != changed for path, changed in header["folders"]):
                return None
            names = FileNames.of(file["text"], file["ends"])
            return Listing(names, header["others"], header["folders"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def write_index(folder, listing):
    """Keep a :class:`Listing`, unless it is short or a folder changes just now."""
    latest = max(changed for _, changed in listing.folders) / 1e9
    if len(listing.names) < LEAST_IMAGES or time.time() - latest < SETTLED:
        return
    if not comm.is_main_process():
        return
    header = json.dumps({"others": listing.others, "folders": listing.folders}).encode()
    path = _path(folder)
    temporary = path.with_name(f"{path.name}.tmp{os.getpid()}")
    # one that cannot be written is no error: the folder is listed again
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            np.savez_compressed(
                file, header=np.frombuffer(header, np.uint8), **listing.names.arrays()
            )
        os.replace(temporary, path)


def _path(folder):
    key = f"{VERSION} {folder} {os.path.abspath(folder)}"
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return cache_folder() / f"{digest}.npz"
