"""Files that are written while training goes on."""

import copy
import logging
import sys
import threading

import torch

logger = logging.getLogger(__name__)


class Writer:
    """Runs one job after the other; in the background, each in a thread, on a copy of its data.

    An error of a job in the background is raised at the next call of any method.

    Attributes:
        in_background: False, at first: a job is done when :meth:`start` returns.
    """

    def __init__(self):
        self.in_background = False
        self._thread = self._error = None

    def start(self, job, data):
        """Start ``job(data)`` once the job before it is done.

        Args:
            job: function.
            data: nested dicts, lists and tuples of tensors and plain values; all may change as soon
                as this returns.
        """
        self.wait()
        if not self.in_background:
            job(data)
            return
        # a daemon: a second Ctrl-C ends the process at once
        self._thread = threading.Thread(
            target=self._run, args=(job, host_copy(data)), name="checkpoint", daemon=True
        )
        self._thread.start()

    def wait(self):
        """Wait for the job that runs; raise its error."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def check(self):
        """Raise the error of the last job, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def finish(self):
        """:meth:`wait` at the end of a run; where it ends with an error, another is only logged.

        A second Ctrl-C does not wait: the checkpoint before is intact.
        """
        ending = sys.exc_info()[0]
        if ending is None:
            self.wait()
            return
        if issubclass(ending, KeyboardInterrupt):
            return
        try:
            self.wait()
        except Exception as error:
            logger.error("The last checkpoint was not written: %s", error)

    def _run(self, job, data):
        try:
            job(data)
        except Exception as error:
            self._error = error


def host_copy(value, _copies=None):
    """Return a copy in the memory of the host; tensors that share memory share it in the copy.

    Args:
        value: nested dicts, lists and tuples of tensors and values that ``copy.deepcopy`` takes.
    """
    copies = {} if _copies is None else _copies
    if isinstance(value, torch.Tensor):
        storage = value.untyped_storage()
        # what is empty has no address
        key = value.device, storage.data_ptr() or id(storage)
        if key not in copies:
            copies[key] = storage.clone() if value.device.type == "cpu" else storage.cpu()
        like = torch.empty(0, dtype=value.dtype)
        return like.set_(copies[key], value.storage_offset(), value.size(), value.stride())
    if isinstance(value, dict):
        found = copy.copy(value)  # with the attributes of a state_dict
        found.update((k, host_copy(x, copies)) for k, x in value.items())
        return found
    if isinstance(value, (list, tuple)):
        return type(value)(host_copy(x, copies) for x in value)
    return copy.deepcopy(value)
