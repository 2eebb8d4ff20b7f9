"""What C libraries print to the standard error stream, as text in Python."""

import contextlib
import os
import tempfile
import threading

_STDERR = 2
_lock = threading.Lock()
_file = None, None  # (process that opened it, file); a forked process must not share it


def _renew_lock():
    """In a forked process: a thread that exists no more may have held the lock."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


@contextlib.contextmanager
def native_messages(patterns):
    """Catch lines that code in C prints to the standard error stream.

    libjpeg reports damaged data only there. Whatever else is printed meanwhile, also by other
    threads, is passed on at the end.

    Args:
        patterns: parts of the lines to catch.

    Yields:
        list; at the end it holds the lines. It stays empty if the process has no standard error.
    """
    caught = []
    with _lock:
        try:
            file, original = _capture_file(), os.dup(_STDERR)
        except OSError:  # closed, as for some services
            yield caught
            return
        os.dup2(file.fileno(), _STDERR)
        try:
            yield caught
        finally:
            os.dup2(original, _STDERR)
            os.close(original)
            _sort_lines(_take_all(file), patterns, caught)


def _capture_file():
    """Return this process's temporary file; it is made once, not for every image."""
    global _file
    if _file[0] != os.getpid():
        _file = os.getpid(), tempfile.TemporaryFile(buffering=0)
    return _file[1]


def _take_all(file):
    """Return what the file holds, and empty it."""
    size = file.tell()
    if not size:
        return b""
    file.seek(0)
    data = file.read(size)
    file.seek(0)
    file.truncate()
    return data


def _sort_lines(data, patterns, caught):
    """Add the lines with a pattern to ``caught``; print the others."""
    for line in data.splitlines(keepends=True):
        text = line.decode(errors="replace").strip()
        if any(x in text for x in patterns):
            caught.append(text)
        else:
            os.write(_STDERR, line)
