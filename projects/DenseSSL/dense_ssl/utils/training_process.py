"""Training in a process of its own, watched through what it prints."""

import contextlib
import os
import re
import subprocess
from collections import deque

# The lines of ReportPrinter and of progress(). The first step of a run has no eta.
_TRAINING = re.compile(r"iter (\d+/\d+)  loss (\S+)(?:.*?  (eta \S.*?)(?:  |$))?")
_EVALUATION = re.compile(r"Evaluating on .*: (\d+) of (\d+) .*?\beta (\S.*)")
TAIL_LINES = 60
# What torchrun and SLURM tell the processes of a job.
_OF_A_JOB = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_", "GROUP_RANK",
             "TORCHELASTIC_", "SLURM_")  # fmt: skip


def parse_progress(line):
    """What a line of train_net.py's output says of the progress.

    Returns:
        such as "iteration 40/90  loss 1.283  eta 0:01:20" or "evaluation 11/300  eta 0:00:05"; None
        for all other lines.
    """
    found = _TRAINING.search(line)
    if found:
        return f"iteration {found[1]}  loss {found[2]}" + (f"  {found[3]}" if found[3] else "")
    found = _EVALUATION.search(line)
    if found:
        return f"evaluation {found[1]}/{found[2]}  eta {found[3]}"
    return None


def run_training(command, report, log=None, environment=None, **options):
    """Run a command, and report the progress that it prints.

    The process is ended where this one is interrupted while it waits. It does not join a job of
    torchrun or SLURM that this one belongs to.

    Args:
        command: list of words.
        report: function called with each result of :func:`parse_progress`.
        log: file that everything printed is appended to.
        environment: {variable: value}, in addition to those of this process.
        options: of ``subprocess.Popen``.

    Returns:
        (exit status, the last lines that were printed).
    """
    tail = deque(maxlen=TAIL_LINES)
    env = {k: x for k, x in os.environ.items() if not k.startswith(_OF_A_JOB)}
    env.update(environment or {})
    with contextlib.ExitStack() as stack:
        copy = stack.enter_context(open(log, "a", encoding="utf-8")) if log else None
        process = stack.enter_context(
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=env,
                **options,
            )
        )
        try:
            for line in process.stdout:
                tail.append(line)
                if copy:
                    copy.write(line)
                    copy.flush()
                progress = parse_progress(line)
                if progress:
                    report(progress)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    return process.returncode, "".join(tail)
