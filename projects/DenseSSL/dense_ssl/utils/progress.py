"""Progress of long loops: a bar on a terminal, otherwise a line now and then."""

import logging
import sys
import time
from datetime import timedelta

from detectron2.utils import comm
from tqdm import tqdm

logger = logging.getLogger(__name__)

# Seconds between two lines where the output is not a terminal; shorter loops print nothing.
SECONDS_PER_LINE = 10.0


def progress(iterable, description, total=None):
    """Iterate, and show how far the loop is; in the main process only.

    On a terminal it is a bar of tqdm, which is removed at the end. Elsewhere (a file, a pipe, a
    notebook) it is one line every :data:`SECONDS_PER_LINE` seconds, in the log where there is one.

    Args:
        iterable: what to iterate over.
        description: what the loop does, such as "Embedding images".
        total: number of items; default: the length of ``iterable``, unknown if it has none.

    Returns:
        iterable of the same items; it has a length if ``iterable`` has one.
    """
    if not comm.is_main_process():
        return iterable
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)
    if sys.stderr.isatty():
        return tqdm(iterable, desc=description, total=total, leave=False, dynamic_ncols=True)
    return _Lines(iterable, description, total)


class _Lines:
    """Iterates over items, as long as they are, and prints lines."""

    def __init__(self, iterable, description, total):
        self.iterable = iterable
        self.description = description
        self.total = total

    def __len__(self):
        return len(self.iterable)

    def __iter__(self):
        start = last = time.monotonic()
        for done, item in enumerate(self.iterable):  # done: before this one
            now = time.monotonic()
            if now - last >= SECONDS_PER_LINE:
                last = now
                _print(_line(self.description, done, self.total, now - start))
            yield item


def _line(description, done, total, seconds):
    """'Embedding images: 120 of 300 (40%), eta 0:00:15'."""
    if not total:
        return f"{description}: {done} so far"
    eta = f", eta {timedelta(seconds=round(seconds / done * (total - done)))}" if done else ""
    return f"{description}: {done} of {total} ({100 * done // total}%){eta}"


def _print(line):
    if logger.isEnabledFor(logging.INFO):
        logger.info(line)
    else:  # a tool that has set up no log
        print(line, file=sys.stderr, flush=True)
