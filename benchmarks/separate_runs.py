"""Runs of train_net.py in sessions of their own: started, or forked to save the time of imports."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from detectron2.engine import default_argument_parser

from dense_ssl import engine

TRAIN_NET = Path(__file__).resolve().parents[1] / "train_net.py"
TICK = 0.0005  # seconds, a step of the loop that waits
START = torch.multiprocessing.start_processes


def start_command(words, log):
    """Start train_net.py."""
    with open(log, "w") as file:
        return subprocess.Popen([sys.executable, TRAIN_NET, *words], stdout=file,
                                stderr=file, start_new_session=True)  # fmt: skip


class Forked:
    """A run like that of :func:`start_command`, forked from a process that has done the imports."""

    def __init__(self, words, log):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["dense_ssl.engine"])
        self._process = context.Process(target=train, args=(words, str(log)))
        self._process.start()
        self.pid = self._process.pid
        while self.poll() is None and os.getpgid(self.pid) != self.pid:
            time.sleep(TICK)

    def poll(self):
        return self._process.exitcode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired("train_net.py", timeout)
        return self.poll()


def train(words, log):
    """What train_net.py does, in a session of its own."""
    with open(log, "w") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    multiprocessing.set_start_method("fork", force=True)  # as in a command of its own
    torch.multiprocessing.start_processes = fork_processes
    try:
        os.setsid()
        engine.launch(engine.run_command, default_argument_parser().parse_args(words))
    except KeyboardInterrupt:  # outside of the launcher; so the interpreter ends too
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)


def fork_processes(function, args=(), nprocs=1, join=True, daemon=False, **_):
    """torch's function of this name, by fork: a spawned process does all imports again."""
    return START(as_spawned, (function, *args), nprocs, join, daemon, start_method="fork")


def as_spawned(rank, function, *args):
    """Call ``function`` without the parent's handlers of signals, which a fork inherits."""
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    function(rank, *args)


def members(session):
    """Return the processes of a session that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, number = path.read_text().rpartition(")")[2].split()[:4]
            if int(number) == session and state != "Z":
                found.append(int(path.parent.name))
    return found


def trainers(parent):
    """Return the processes that a parent has started to train in."""
    found = []
    for pid in members(parent):
        with contextlib.suppress(OSError):
            above = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if int(above) == parent and b"tracker" not in command:
                found.append(pid)
    return found
