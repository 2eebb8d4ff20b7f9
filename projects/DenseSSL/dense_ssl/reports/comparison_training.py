"""Training the missing runs of a comparison, and resuming those that were stopped."""

import fcntl
import math
import shlex
import time
from contextlib import contextmanager

from ..utils.exit_codes import STOPPED
from ..utils.training_process import run_training
from .comparison_record import RECORD
from .comparison_runs import Run

LOG = "comparison_run.log"
LINES_OF_FAILURE = 30
SECONDS_BETWEEN_LINES = 30


def train_command(run, programs, num_gpus):
    """Return the command that trains a run, as a list of words.

    Args:
        run: :class:`~.comparison_record.Training`.
        programs: the words that start train_net.py, and those that start roi_probe.py.
        num_gpus: GPUs of the run.
    """
    train_net, roi_probe = programs
    if getattr(run, "probe", ""):
        flags = ["--config-file", run.config_file, "--feature", run.probe, "--write"]
        side = run.settings["INPUT.MIN_SIZE_TEST"]  # objects as large as in the detector's input
        return [*roi_probe, *flags, *(["--side", str(side)] if side else []), *run.options]
    flags = ["--config-file", run.config_file, "--num-gpus", str(num_gpus), "--resume"]
    # a free port, so that several comparisons can run on one machine
    return [*train_net, *flags, "--dist-url", "auto", *run.options]


def with_pretrainings(runs):
    """Return a list of all trainings: each pre-training directly before the first of its runs."""
    steps = []
    for run in runs:
        if run.pretraining and not any(x is run.pretraining for x in steps):
            steps.append(run.pretraining)
        steps.append(run)
    return steps


def run_missing(runs, programs, num_gpus, after_each, is_needed=lambda run: True,
                delete_checkpoints=False):  # fmt: skip
    """Train the runs that are not done, one after the other; a failure does not stop the others.

    A training that a signal stops ends all, with its exit code: a scheduler takes the machine away.

    Args:
        runs: list of :class:`~.comparison_runs.Run`; their pre-trainings are trained too.
        programs, num_gpus: see :func:`train_command`.
        after_each: called without arguments after each run.
        is_needed: function of a run; asked when its turn comes.
        delete_checkpoints: see :func:`delete_checkpoints_of`.

    Returns:
        (trainings that failed, trainings that another process is running).
    """
    steps, failed = with_pretrainings(runs), []

    def attempt(step, lock):
        if not train(step, train_command(step, programs, num_gpus), lock):
            failed.append(step)
        elif delete_checkpoints:
            delete_checkpoints_of(step)
        after_each()

    while True:
        elsewhere, attempted = _go_through(steps, failed, is_needed, attempt)
        if not elsewhere or not attempted:
            return failed, elsewhere
        # others may have finished their pre-trainings meanwhile


def _go_through(steps, failed, is_needed, attempt):
    """Attempt each step that is neither done nor taken; those that cannot be join ``failed``.

    Returns:
        (steps that others are at, number of attempts).
    """
    elsewhere, attempted = [], 0
    for number, step in enumerate(steps, start=1):
        if any(x is step for x in failed) or isinstance(step, Run) and not is_needed(step):
            continue
        if _waits(step):
            has_failed = any(x is step.pretraining for x in failed)
            reason = "failed" if has_failed else "runs in another process"
            print(f"{step}: left out, its pre-training {reason}", flush=True)
            (failed if has_failed else elsewhere).append(step)
            continue
        with locked(step) as lock:
            if lock is None:
                elsewhere.append(step)
            elif step.conflict():  # another process may have used the folder since the planning
                print(f"{step}: its folder now has other settings\n{step.conflict()}", flush=True)
                failed.append(step)
            elif not step.is_done():
                print(f"[{number}/{len(steps)}] {step}  {step.length}, {step.state()}", flush=True)
                attempted += 1
                attempt(step, lock)
    return elsewhere, attempted


def _waits(step):
    """Return True for a run whose pre-training is not done."""
    return isinstance(step, Run) and bool(step.pretraining) and not step.pretraining.is_done()


@contextmanager
def locked(run):
    """Lock the folder of a run; yields the lock's file descriptor, None if it is locked already.

    The training process inherits the lock, and keeps it if this process is killed.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    with open((run.folder / RECORD).with_suffix(".lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        except OSError:  # a file system without locks
            pass
        yield file.fileno()


def train(run, command, lock):
    """Train a run in a process of its own; returns True if it is done then.

    Raises:
        SystemExit: a signal stopped it.
    """
    run.write()
    log, begin, printed = run.folder / LOG, time.monotonic(), -math.inf

    def report(text):
        nonlocal printed
        if time.monotonic() - printed >= SECONDS_BETWEEN_LINES:
            printed = time.monotonic()
            print(f"    {text}", flush=True)

    status, tail = run_training(command, report, log, pass_fds=(lock,))
    if status == 0 and run.is_done():
        print(f"    done in {time.monotonic() - begin:.0f} s: {run.summary()}", flush=True)
        return True
    if status in STOPPED:
        print(f"    STOPPED by a signal, with a checkpoint. The same command continues.\n"
              f"    log: {log}", flush=True)  # fmt: skip
        raise SystemExit(status)
    reason = f"exit status {status}" if status else "it ended without its final result"
    print("\n".join(f"    | {x}" for x in tail.splitlines()[-LINES_OF_FAILURE:]))
    print(f"    FAILED ({reason}): {shlex.join(command)}\n    log: {log}", flush=True)
    return False


def delete_checkpoints_of(run):
    """Delete the checkpoints (.pth) of a training that is done; results and backbone.pkl stay."""
    for path in run.folder.glob("model_*.pth"):
        path.unlink()
