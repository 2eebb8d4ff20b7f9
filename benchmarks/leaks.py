"""Memory and open files of a training after many tiny steps, for every method.

A method leaks if the memory of the training process or of its data workers keeps growing in the
second half of the run, or if files stay open.

    python benchmarks/leaks.py                       # 1,000 steps of every method
    python benchmarks/leaks.py --steps 200 BYOL SCRL
"""

import argparse
import gc
import json
import os
import sys
import tempfile
from pathlib import Path

from detectron2.engine import HookBase

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the tiny config of each method

# A process may grow by this many MB from the middle of the run to its end; the allocator's own
# noise is about 2.
ALLOWED = 8.0
WORKERS = 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", help="default: all")
    parser.add_argument("--steps", type=int, default=1000)
    arguments = parser.parse_args()
    from helpers import METHODS

    failed = False
    for method in arguments.methods or METHODS:
        row = measure(method, arguments.steps)
        failed |= row["leaks"]
        print(json.dumps(row), flush=True)
    return int(failed)


def measure(method, steps):
    """Train, and return what grew from the middle of the run to its end, as a dict."""
    import cv2
    import numpy as np
    from helpers import build_trainer, photo, tiny_config

    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "images")
        images.mkdir()
        for i in range(16):
            picture = photo(np.random.default_rng(i), 90, 70)
            cv2.imwrite(str(images / f"{i}.jpg"), picture)
        cfg = tiny_config(method, images, Path(folder, "out"), "INPUT.VIEWS.BACKEND", "fast",
                          "SOLVER.MAX_ITER", steps, "SOLVER.CHECKPOINT_PERIOD", max(steps // 4, 1),
                          "SOLVER.KEEP_CHECKPOINTS", 1, "SOLVER.BASE_LR", 0.001,
                          "DATALOADER.NUM_WORKERS", WORKERS)  # fmt: skip
        trainer, watch = build_trainer(cfg), Watch(steps)
        trainer.register_hooks([watch])
        trainer.train()
    middle, end = watch.middle, watch.end
    grown = {k: round(end[k] - middle[k], 1) for k in end}
    is_leak = grown["MB"] > ALLOWED or grown["MB of workers"] > ALLOWED or grown["files"] > 0
    return {"method": method, "steps": steps, **grown, "leaks": is_leak}


class Watch(HookBase):
    """Reads memory and files in the middle and at the end of a run."""

    def __init__(self, steps):
        self.steps = steps
        self.middle = self.end = None

    def after_step(self):
        if self.trainer.iter + 1 == self.steps // 2:
            self.middle = usage()
        if self.trainer.iter + 1 == self.steps:
            self.end = usage()


def usage():
    """Return MB of this process and of its children, and how many files it has open."""
    gc.collect()
    pid = os.getpid()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {
        "MB": memory(pid),
        "MB of workers": sum(map(memory, children)),
        "files": len(os.listdir(f"/proc/{pid}/fd")),
    }


def memory(pid):
    """Return the resident memory of a process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    sys.exit(main())
