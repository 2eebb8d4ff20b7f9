"""Signals: a run that is told to stop writes a checkpoint first, and says so by its exit code."""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading

import torch
import torch.distributed as dist
from detectron2.engine import HookBase
from detectron2.utils import comm

from ..utils.exit_codes import INTERRUPTED, REQUEUE

logger = logging.getLogger(__name__)

# What schedulers send before they take a machine away, and what a terminal sends for Ctrl-C.
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Stopped(SystemExit):
    """Ends a run that a signal stopped; its code is that of the process."""


def exit_code(number):
    """Return the exit code of a run that a signal stopped."""
    return INTERRUPTED if number == signal.SIGINT else REQUEUE


class StopOnSignal(HookBase):
    """Ends the run after the step in which SIGTERM, SIGUSR1 or Ctrl-C came, with a checkpoint.

    Several processes agree during the next step, which no process waits for, and stop together
    after it, whichever was told. A second Ctrl-C ends the process at once. A signal during the last
    step of a run that has nothing to evaluate changes nothing: the run is complete.

    Must come after the hooks that finish a step, and after the one that writes checkpoints. With
    :class:`ListenForSignals` before all hooks, it takes signals from the beginning.
    """

    def __init__(self, checkpointer, evaluates=True):
        """
        Args:
            checkpointer: of the run.
            evaluates: the last step is followed by an evaluation.
        """
        self._checkpointer = checkpointer
        self._evaluates = evaluates
        self._number = 0  # of the first signal
        self._pressed = False  # Ctrl-C
        self._process = os.getpid()
        self._before = {}
        self._listens = False
        self._group = self._agreement = None

    def before_train(self):
        self.listen()

    def listen(self):
        """Take the signals from here to the end of the training."""
        if self._listens:
            return
        self._listens = True
        if comm.get_world_size() > 1:
            self._group = dist.new_group(backend="gloo")  # signals are numbers of the host
        if threading.current_thread() is threading.main_thread():  # only there
            self._before = {x: signal.signal(x, self._receive) for x in _SIGNALS}
            if getattr(self._before[signal.SIGINT], "has_come", False):
                self._number, self._pressed = signal.SIGINT, True  # a library has swallowed it

    def after_train(self):
        if sys.exc_info()[0] is None:  # else a process may be gone
            self._agree()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before, self._listens = {}, False

    def after_step(self):
        number = self._agreed()
        is_complete = self.trainer.iter + 1 >= self.trainer.max_iter and not self._evaluates
        if not number or is_complete:
            return
        iteration = self.trainer.iter
        name = f"model_{iteration:07d}"
        self._checkpointer.writer.wait()
        if self._checkpointer.last not in (name, "model_final"):
            self._checkpointer.save(name, iteration=iteration)
            self._checkpointer.writer.wait()
        self._agree()
        comm.synchronize()  # nobody leaves before it is written: the end of one ends all
        log = logger.warning if comm.is_main_process() else logger.debug
        log(
            "%s: stopped after iteration %d, with a checkpoint. The same command with --resume "
            "goes on from there.",
            signal.Signals(number).name, iteration,
        )  # fmt: skip
        raise Stopped(exit_code(number))

    def _agreed(self):
        """Return the signal that some process had received a step ago, 0 for none."""
        if comm.get_world_size() == 1:
            return self._number
        number = self._agree()
        numbers = torch.tensor([self._number])
        work = dist.all_reduce(numbers, dist.ReduceOp.MAX, group=self._group, async_op=True)
        self._agreement = numbers, work
        return number

    def _agree(self):
        """Complete the last exchange; return its largest number, 0 without one."""
        if self._agreement is None:
            return 0
        numbers, work = self._agreement
        work.wait()
        self._agreement = None
        return int(numbers)

    def _receive(self, number, frame):
        if os.getpid() != self._process:
            return self._receive_in_worker(number)
        if number == signal.SIGINT and self._pressed:
            raise KeyboardInterrupt
        self._number, self._pressed = (
            self._number or number,
            self._pressed or number == signal.SIGINT,
        )
        if number == signal.SIGINT and comm.is_main_process():
            # not the logger, whose lock this thread may hold
            os.write(2, b"\nCtrl-C: stopping after this step. Again: stops at once.\n")
        return None

    def _receive_in_worker(self, number):
        """A forked process ignores what its run answers, but ends when told to.

        The workers of data loaders have :mod:`~dense_ssl.utils.loader_workers` for SIGTERM.
        """
        if number == signal.SIGTERM:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


class ListenForSignals(HookBase):
    """The beginning of :class:`StopOnSignal`: what other hooks do before the first step, such as an
    evaluation, is not cut off by a signal."""

    def __init__(self, stop):
        """
        Args:
            stop: :class:`StopOnSignal`.
        """
        self._stop = stop

    def before_train(self):
        self._stop.listen()


class _CtrlC:
    """Python's own handler of Ctrl-C, which also notes that it came."""

    def __init__(self):
        self.has_come = False

    def __call__(self, number, frame):
        self.has_come = True
        raise KeyboardInterrupt


@contextlib.contextmanager
def ctrl_c_ends():
    """Within it Ctrl-C ends the run, even where a library turns KeyboardInterrupt into an error.

    It comes in the middle of anything, such as code that cleans up and then fails: the error says
    nothing of the cause. If a library swallows it, :class:`StopOnSignal` ends the run.

    Raises:
        KeyboardInterrupt: in place of any error after Ctrl-C.
    """
    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or before is not signal.default_int_handler:  # ignored, or somebody else's
        yield
        return
    handler = _CtrlC()
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    except Exception as error:
        if not handler.has_come:
            raise
        raise KeyboardInterrupt from error
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def handlers_restored():
    """Restore the handlers of signals at the end of a run, however it ends.

    :class:`StopOnSignal` does so too; but if a hook before it fails, its turn never comes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {x: signal.getsignal(x) for x in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@contextlib.contextmanager
def passed_to_children(is_finished):
    """Within it this process passes signals on to those that it started, and waits for them.

    They get SIGTERM instead of Ctrl-C, because a terminal sends that to them itself.

    Args:
        is_finished: function without arguments; True once their work is done.

    Yields:
        list to which the signals are added that came.

    Raises:
        SystemExit: a signal came before there was a process to pass it on to.
    """
    received = []

    def receive(number, frame):
        if number == signal.SIGINT and number in received:
            raise KeyboardInterrupt
        received.append(number)
        children = multiprocessing.active_children()
        if not children and not is_finished():
            raise SystemExit(exit_code(number))
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGTERM if number == signal.SIGINT else number)

    is_main = threading.current_thread() is threading.main_thread()
    before = {x: signal.signal(x, receive) for x in _SIGNALS} if is_main else {}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
