"""Kill runs at random moments, resume them, and compare the end with an untouched run.

A run is killed by SIGKILL, SIGTERM or SIGINT at a random moment: while it starts, between two
steps, or while a checkpoint is being written. With several processes SIGKILL hits the one that a
user sees or one of those that it started. The same command with --resume
goes on, until the run is complete; then the next one begins. Faults are: a run that does not end
after its signal, processes that stay behind, an exit code other than the documented one, a command
that cannot go on, and a final checkpoint that differs from the untouched run's in a single bit.

To save the time of the imports, runs are forked from a process that has done them. With --cold each
is a command of its own, as a user types it.

    python benchmarks/kills.py --kills 100
    python benchmarks/kills.py --kills 20 --processes 2 --method MoCoV2 --cold
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import torch
from separate_runs import TICK, Forked, members, start_command, trainers

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "mini" / "pretrain" / "byol_R_18.yaml"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MOMENTS = ("any", "step", "writing")
# The documented code of a run that a signal stopped, and that of one that had not begun to train.
STOPPED = {signal.SIGKILL: (-9,), signal.SIGTERM: (75, -15), signal.SIGINT: (130, -2)}
PATIENCE = 120  # seconds that processes may take to end after a signal
OPTIONS = [
    "MODEL.DEVICE", "cpu", "MODEL.RESNETS.RES2_OUT_CHANNELS", 64, "INPUT.VIEWS.SIZE", "(32,)",
    "SOLVER.IMS_PER_BATCH", 4, "SOLVER.WARMUP_ITERS", 2, "SOLVER.CHECKPOINT_PERIOD", 3,
    "SOLVER.KEEP_CHECKPOINTS", 2, "SOLVER.BASE_LR", 0.05, "DATALOADER.NUM_WORKERS", 1,
    "VIS_PERIOD", 0, "LOG.REPORT", False, "SEED", 3,
]  # fmt: skip


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--steps", type=int, default=45, help="length of a run")
    parser.add_argument("--cold", action="store_true", help="start train_net.py each time")
    parser.add_argument("--method", default="BYOL", help="MODEL.META_ARCHITECTURE")
    parser.add_argument("--seed", type=int, default=0, help="of signals and moments")
    parser.add_argument("--output", type=Path, help="a json with the figures")
    return parser.parse_args()


def main():
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        test = KillTest(arguments, Path(folder))
        test.run()
    report = test.report()
    print(json.dumps(report, indent=2))
    return 1 if report["faults"] else 0


class KillTest:
    """Runs that are killed and resumed."""

    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        self.random = random.Random(arguments.seed)
        self.kills, self.faults, self.codes = Counter(), [], Counter()
        self.runs, self.begin = 0, time.time()

    def run(self):
        """Kill, resume and compare; the figures so far are written after every run."""
        write_images(self.folder / "images")
        reference = self.folder / "untouched"
        duration = self._untouched(reference)
        expected = final_state(reference)
        while sum(self.kills.values()) < self.arguments.kills:
            output = self.folder / f"run_{self.runs}"
            completed = self._run_with_kills(output, duration)
            difference = first_difference(expected, final_state(output)) if completed else ""
            if difference:
                self.faults.append(f"run {self.runs}: {difference} differs")
            self.runs += 1
            shutil.rmtree(output, ignore_errors=True)
            if self.arguments.output:
                self.arguments.output.write_text(json.dumps(self.report(), indent=2) + "\n")

    def report(self):
        """Return the figures: a dict that json can hold."""
        return {
            "method": self.arguments.method,
            "processes": self.arguments.processes,
            "kills": sum(self.kills.values()),
            "by signal and moment": dict(sorted(self.kills.items())),
            "exit codes": dict(sorted(self.codes.items())),
            "runs completed and compared": self.runs,
            "faults": self.faults,
            "minutes": round((time.time() - self.begin) / 60, 1),
        }

    def _untouched(self, output):
        begin = time.time()
        process, log = self._start(output, resume=False)
        if process.wait() != 0:
            raise RuntimeError(f"the untouched run failed:\n{log.read_text()[-3000:]}")
        return time.time() - begin

    def _run_with_kills(self, output, duration):
        """Start and kill a run until it is complete; return False if it cannot go on."""
        resume = False
        while True:
            process, log = self._start(output, resume)
            is_due = sum(self.kills.values()) < self.arguments.kills
            killed = is_due and self._kill(process, output, duration)
            code = self._wait(process, log)
            if code is None:
                return False
            if not killed or code == 0:
                if code != 0 and not was_complete(log):
                    self._fault(f"ended with {code} on its own", log)
                    return False
                return True
            resume = True

    def _kill(self, process, output, duration):
        """Send a random signal at a random moment; return False if the run was faster."""
        number, moment = self.random.choice(SIGNALS), self.random.choice(MOMENTS)
        if not self._wait_for(moment, process, output, duration):
            return False
        target = process.pid
        if number == signal.SIGKILL and self.arguments.processes > 1:
            target = self.random.choice([target, *trainers(process.pid)])
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGINT:  # as a terminal does
                os.killpg(process.pid, number)
            else:
                os.kill(target, number)
        self.kills[f"{number.name}, {moment}"] += 1
        self.number = number, target == process.pid
        return True

    def _wait_for(self, moment, process, output, duration):
        """Wait for a moment of the run; return False if it ended before."""

        def written():
            return output.is_dir() and any(".tmp" in x.name for x in os.scandir(output))

        begin, before = time.time(), checkpoints(output)
        delay = self.random.uniform(0, duration if moment == "any" else 1.0)
        skip = self.random.randrange(4)  # not always the first checkpoint
        while process.poll() is None:
            if moment == "any" and time.time() > begin + delay:
                return True
            if moment == "step" and checkpoints(output) != before:  # it trains
                time.sleep(delay)
                return process.poll() is None
            if moment == "writing" and written():
                if not skip:
                    time.sleep(self.random.uniform(0, 0.01))
                    return process.poll() is None
                skip -= 1
                while written() and process.poll() is None:
                    time.sleep(TICK)
            time.sleep(TICK)
        return False

    def _wait(self, process, log):
        """Wait for the end of all processes; return the exit code, None after a fault."""
        number, is_parent = getattr(self, "number", (None, True))
        self.number = None, True
        try:
            code = process.wait(PATIENCE if number else None)
        except subprocess.TimeoutExpired:
            self._fault(f"still runs {PATIENCE} s after {number.name}", log)
            os.killpg(process.pid, signal.SIGKILL)
            return None
        end = time.time() + PATIENCE
        while members(process.pid):
            if time.time() > end:
                self._fault("processes stay behind", log)
                os.killpg(process.pid, signal.SIGKILL)
                return None
            time.sleep(0.02)
        if number:
            self.codes[f"{number.name}: {code}"] += 1
            # a killed child is an error of the parent
            allowed = STOPPED[number] if is_parent else (1,)
            if code not in (0, *allowed):
                self._fault(f"{number.name} gave the exit code {code}", log)
        return code

    def _fault(self, text, log):
        self.faults.append(f"run {self.runs}: {text}")
        print(f"{self.faults[-1]}\n{log.read_text()[-3000:]}", file=sys.stderr, flush=True)

    def _start(self, output, resume):
        log = self.folder / "log.txt"
        options = [*OPTIONS, "MODEL.META_ARCHITECTURE", self.arguments.method,
                   "SOLVER.MAX_ITER", self.arguments.steps, "OUTPUT_DIR", output,
                   "DATASETS.TRAIN", f"folder:{self.folder / 'images'}"]  # fmt: skip
        words = ["--config-file", CONFIG, "--num-gpus", self.arguments.processes,
                 *(["--dist-url", "auto"] if self.arguments.processes > 1 else []),
                 *(["--resume"] if resume else []), *options]  # fmt: skip
        start = start_command if self.arguments.cold else Forked
        return start([str(x) for x in words], log), log


def was_complete(log):
    """Return True if a run was refused because its last signal came after its last checkpoint."""
    return "nothing is left to train" in log.read_text()


def write_images(folder):
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(16):
        small = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{i:02d}.jpg"), cv2.resize(small, (80, 64)))


def checkpoints(folder):
    """Return the names of the checkpoints: they change once a run trains."""
    if not folder.is_dir():
        return {}
    return {x.name for x in folder.iterdir() if x.suffix == ".pth"}


def final_state(folder):
    """Return all that the final checkpoint of a run holds, except its config."""
    state = torch.load(folder / "model_final.pth", weights_only=True)
    state["trainer"].pop("config")  # it names the folder
    return state


def first_difference(one, two, name="model_final.pth"):
    """Return the name of the first part that differs, "" if none does."""
    if isinstance(one, torch.Tensor):
        return "" if one.dtype == two.dtype and torch.equal(one, two) else name
    if isinstance(one, dict):
        if one.keys() != two.keys():
            return name
        parts = ((x, one[x], two[x]) for x in one)
    elif isinstance(one, (list, tuple)):
        if len(one) != len(two):
            return name
        parts = zip(range(len(one)), one, two)
    else:
        return "" if one == two else name
    return next((x for k, a, b in parts if (x := first_difference(a, b, f"{name}, {k}"))), "")


if __name__ == "__main__":
    sys.exit(main())
