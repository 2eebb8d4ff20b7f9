"""Files that are written completely or not at all."""

import contextlib
import glob
import os
import time
import uuid

_DAY = 86400  # seconds


@contextlib.contextmanager
def atomic_file(path, advice="Free some space, or name a folder that can be written to."):
    """Open ``path`` for binary writing; it appears only after the block has succeeded.

    The data go to a temporary file, which then replaces ``path``; a process that is killed before
    that leaves the old file unchanged, and a temporary one that the next writer removes after a
    day. Machines that share the folder write different ones.

    Args:
        path: of the file; its folder must exist.
        advice: the end of the error where the system refuses to write it.
    """
    temporary = f"{path}.tmp{uuid.uuid4().int % 10**12}"  # checkpoint/recovery.py finds it
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch.save has the first as the cause of the second
        cause = error if isinstance(error, OSError) else error.__cause__ or error.__context__
        if not isinstance(cause, OSError) or cause.strerror is None:
            raise
        raise OSError(
            f"{path} is not written: {cause.strerror}. What was there before is intact. {advice}"
        ) from error
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
    _remove_leftovers(path)


def _remove_leftovers(path):
    """Remove what writers of this file left that were killed a day ago or earlier."""
    for old in glob.glob(f"{glob.escape(os.fspath(path))}.tmp[0-9]*"):
        with contextlib.suppress(OSError):  # another process does the same
            if time.time() - os.path.getmtime(old) > _DAY:
                os.remove(old)
