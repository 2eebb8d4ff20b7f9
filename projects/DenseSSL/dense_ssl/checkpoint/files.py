"""Files that are written completely or not at all."""

import os
from contextlib import contextmanager


@contextmanager
def atomic_file(path):
    """Open ``path`` for binary writing; it appears only after the block has succeeded.

    The data go to a temporary file, which then replaces ``path``; a process that is killed before
    that leaves the old file unchanged.
    """
    temporary = f"{path}.tmp{os.getpid()}"
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
