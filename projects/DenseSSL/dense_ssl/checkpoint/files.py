"""Files that are written whole or not at all."""

import os
from contextlib import contextmanager


@contextmanager
def atomic_file(path):
    """Open ``path`` for binary writing; it appears only once the block has ended well.

    The data go to a temporary file beside it, which then takes its place; a process that is killed
    in between leaves the old file as it was.
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
