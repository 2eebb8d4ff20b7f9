"""Errors of a command: the message where it says all, the traceback where it does not."""

import dis
import errno
import functools
import os
import re
import sys

from .exit_codes import FAILED

# Errors of a disk that takes no more.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)

_PACKAGE = __name__.partition(".")[0]
# How torch passes on the error of a worker: the traceback there, as text.
_OF_WORKER = re.compile(r"Caught (\w+) in DataLoader worker process \d+\.\nOriginal Traceback")


def plain_errors(main):
    """Let a command end with the message of an error and exit status 1, without a traceback.

    Only errors with a message for the user: see :func:`message_of`. All others are faults, and
    keep their traceback.
    """

    @functools.wraps(main)
    def wrapped(*args, **kwargs):
        try:
            return main(*args, **kwargs)
        except Exception as error:
            message = message_of(error, main.__module__)
            if message is None:
                raise
            print(message, file=sys.stderr, flush=True)
            return FAILED

    return wrapped


def message_of(error, command=""):
    """Return the message of an error if that is all a user needs, else None.

    It is where a ``raise`` of this package made the error, and where the system refused a file. A
    ValueError out of the middle of a calculation is a fault of the program.

    Args:
        error: an exception that was caught.
        command: name of the module of the command, whose own ``raise`` counts too.
    """
    of_worker = _OF_WORKER.match(str(error.args[0] if error.args else ""))
    if of_worker:
        return _message_of_worker(of_worker.string, of_worker[1])
    if isinstance(error, OSError) and error.filename is not None:
        return str(error)
    if isinstance(error, OSError) and error.errno in FULL:
        return f"{error.strerror}: free some space, or name another folder to write to."
    if not _is_raised_by((_PACKAGE, command), error.__traceback__):
        return None
    return str(error.args[0] if isinstance(error, KeyError) and error.args else error)


def _message_of_worker(text, kind):
    """The same of an error in a worker of a data loader, by the end of its traceback."""
    path, _, rest = text.rpartition('\n  File "')[2].partition('"')
    _, code, *lines = rest.split("\n")
    name = re.compile(rf"(\w+\.)*{kind}: ")
    begin = next((i for i, x in enumerate(lines) if name.match(x)), None)
    is_ours = f"{os.sep}{_PACKAGE}{os.sep}" in path and code.strip().startswith("raise ")
    if begin is None or not is_ours:
        return None
    message = "\n".join(lines[begin:]).rstrip()
    return message[name.match(message).end() :]


def _is_raised_by(modules, trace):
    """Return True if a ``raise`` statement in one of these modules made the error."""
    while trace.tb_next is not None:
        trace = trace.tb_next
    code, module = trace.tb_frame.f_code, trace.tb_frame.f_globals.get("__name__", "")
    return module.partition(".")[0] in modules and any(
        x.offset == trace.tb_lasti and x.opname == "RAISE_VARARGS"
        for x in dis.get_instructions(code)
    )
