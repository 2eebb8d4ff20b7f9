"""The workers of a data loader, where a signal comes to all processes of a run."""

import functools
import os
import signal
import threading


def shielded(loader):
    """Let the workers of a DataLoader end when their own process says so, and return it.

    Schedulers send SIGTERM to all processes of a job. The run answers it after its step, for which
    it needs its workers; torch ends the run with an error if one of them is gone.

    Args:
        loader: torch DataLoader that has no iterator yet.
    """
    loader.worker_init_fn = functools.partial(_start, loader.worker_init_fn)
    return loader


def _start(before, index):
    if hasattr(signal, "sigwaitinfo"):
        # torch has its own handler by now, which lets only its parent end a worker quietly
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_wait_for_parent, daemon=True).start()
    if before is not None:
        before(index)


def _wait_for_parent():
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
