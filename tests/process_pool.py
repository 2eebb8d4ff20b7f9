"""Processes joined by gloo that stay up and run one test's function after another."""

import contextlib
import faulthandler
import multiprocessing
import os
import pickle
import signal
import sys
import time
import traceback
import warnings
from multiprocessing.connection import wait

import torch.distributed as dist
from detectron2.utils import comm
from isolation import restored_process

GRACE = 5  # seconds for the other processes to report after one has failed


class ProcessPool:
    """Processes that call the same function together, as the processes of a training do.

    They are started at the first call. A call that fails, crashes or hangs ends them all, and the
    next call starts new ones.
    """

    def __init__(self, folder, size=2, timeout=300):
        """
        Args:
            folder: for the logs of the processes and the file by which they find each other.
            size: number of processes.
            timeout: seconds that a call may take.
        """
        self.folder, self.size, self.timeout = folder, size, timeout
        self.processes, self.connections = [], []
        self.starts = 0

    def run(self, function, *args):
        """Call ``function(*args)`` in every process; both must be picklable.

        Returns:
            list of results by rank.

        Raises:
            AssertionError: with the traceback and the output of each process that failed.
        """
        ended = [x.exitcode for x in self.processes if not x.is_alive()]
        if ended:
            warnings.warn(f"processes of the pool had ended with {ended}", stacklevel=2)
            self.stop()
        if not self.processes:
            self._start()
        for log in self._logs():
            os.truncate(log, 0)
        for connection in self.connections:
            connection.send_bytes(pickle.dumps((function, args)))
        results, failures = self._collect()
        if failures:
            self.stop()
            raise AssertionError("\n".join(failures))
        return [results[rank] for rank in range(self.size)]

    def stop(self):
        """End the processes."""
        for process in self.processes:
            process.kill()
            process.join()
        for connection in self.connections:
            connection.close()
        self.processes, self.connections = [], []

    def _start(self):
        self.starts += 1
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["dense_ssl.engine"])  # imports once, not in every process
        store = self.folder / f"store_{self.starts}"
        for rank in range(self.size):
            ours, theirs = context.Pipe()
            log = self.folder / f"log_{rank}.txt"
            log.touch()
            args = (theirs, rank, self.size, f"file://{store}", str(log))
            process = context.Process(target=_serve, args=args, daemon=True)
            process.start()
            theirs.close()  # so that the end of the process ends the connection
            self.processes.append(process)
            self.connections.append(ours)

    def _collect(self):
        """Return ({rank: result}, [report of a failed rank])."""
        results, failures = {}, []
        waiting = {connection: rank for rank, connection in enumerate(self.connections)}
        deadline = time.monotonic() + self.timeout
        while waiting:
            ready = wait(list(waiting), max(deadline - time.monotonic(), 0))
            for connection in ready:
                rank = waiting.pop(connection)
                try:
                    succeeded, value = pickle.loads(connection.recv_bytes())
                except EOFError:
                    self.processes[rank].join()
                    succeeded, value = False, f"ended with {self.processes[rank].exitcode}"
                if succeeded:
                    results[rank] = value
                else:
                    if not failures:
                        deadline = time.monotonic() + GRACE
                    failures.append(self._report(rank, value))
            if not ready:
                failures += [self._report_hang(rank) for rank in waiting.values()]
                break
        return results, failures

    def _report_hang(self, rank):
        with contextlib.suppress(ProcessLookupError):  # it may end at this very moment
            os.kill(self.processes[rank].pid, signal.SIGUSR1)  # writes its traceback to the log
        time.sleep(0.5)
        return self._report(rank, "gave no answer")

    def _report(self, rank, text):
        return f"process {rank}: {text}\n{self._logs()[rank].read_text(errors='replace')[-5000:]}"

    def _logs(self):
        return [self.folder / f"log_{rank}.txt" for rank in range(self.size)]


def _serve(connection, rank, size, store, log):
    """Run functions until the connection closes."""
    with open(log, "a") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=size)
    comm.create_local_process_group(size)
    while True:
        try:
            function, args = pickle.loads(connection.recv_bytes())
        except EOFError:
            return
        try:
            with restored_process():
                answer = True, function(*args)
                comm.synchronize()
        except BaseException:
            answer = False, traceback.format_exc()
        connection.send_bytes(pickle.dumps(answer))
