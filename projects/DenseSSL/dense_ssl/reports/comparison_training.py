"""Training the missing runs of a comparison, and resuming those that were stopped."""

import fcntl
import math
import os
import shlex
import time
from contextlib import contextmanager

from ..utils.training_process import run_training
from .comparison_runs import RECORD

LOG = "comparison_run.log"
LINES_OF_FAILURE = 30
SECONDS_BETWEEN_LINES = 30


def train_command(run, train_net, num_gpus):
    """Return the command that trains a run, as a list of words.

    Args:
        run: :class:`~.comparison_runs.Run`. train_net: the words that start train_net.py.
        num_gpus: GPUs of the run.
    """
    flags = ["--config-file", run.config_file, "--num-gpus", str(num_gpus), "--resume"]
    # a free port, so that several comparisons can run on one machine
    return [*train_net, *flags, "--dist-url", "auto", *run.options]


def state_of(run):
    """Return "done", "to run", or the checkpoint that it resumes from."""
    if run.results():
        return "done"
    last = run.folder / "last_checkpoint"
    return f"resumes from {last.read_text().strip()}" if last.is_file() else "to run"


def run_missing(runs, train_net, num_gpus, after_each):
    """Train the runs that are not done, one after the other; a failure does not stop the others.

    Args:
        runs, train_net, num_gpus: see :func:`train_command`.
        after_each: called without arguments after each run.

    Returns:
        (runs that failed, runs that another process is training).
    """
    failed, elsewhere = [], []
    for number, run in enumerate(runs, start=1):
        with locked(run) as lock:
            if lock is None:
                elsewhere.append(run)
            elif run.conflict():  # another process may have used the folder since the planning
                print(f"{run}: its folder now has other settings\n{run.conflict()}", flush=True)
                failed.append(run)
            elif run.results() is None:
                print(f"[{number}/{len(runs)}] {run}  {run.last_iteration} iterations, "
                      f"{state_of(run)}", flush=True)  # fmt: skip
                if not train(run, train_command(run, train_net, num_gpus), lock):
                    failed.append(run)
                after_each()
    return failed, elsewhere


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
        yield file.fileno()


def train(run, command, lock):
    """Train a run in a process of its own; returns True if it has a result then."""
    run.write()
    log, begin, printed = run.folder / LOG, time.monotonic(), -math.inf

    def report(text):
        nonlocal printed
        if time.monotonic() - printed >= SECONDS_BETWEEN_LINES:
            printed = time.monotonic()
            print(f"    {text}", flush=True)

    # the run must not join a job of torchrun or SLURM that this process belongs to
    env = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "MASTER_ADDR")}
    status, tail = run_training(command, report, log, pass_fds=(lock,), env=env)
    results = run.results() if status == 0 else None
    if results:
        metrics, _ = results
        shown = [f"{k} {v:.2f}" for k, v in metrics.items() if k.endswith(("/AP", "/mIoU"))]
        print(f"    done in {time.monotonic() - begin:.0f} s: {', '.join(shown)}", flush=True)
        return True
    reason = f"exit status {status}" if status else "it ended without a final evaluation"
    print("\n".join(f"    | {x}" for x in tail.splitlines()[-LINES_OF_FAILURE:]))
    print(f"    FAILED ({reason}): {shlex.join(command)}\n    log: {log}", flush=True)
    return False
