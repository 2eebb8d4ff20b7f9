"""Seconds for which a checkpoint holds a run up: written in the foreground, and in the background.

"held up" is the time until ``save`` returns, "written" the time until the file is on the disk. BYOL
on a ResNet-50 with the paper's heads, and the state of its optimizer; the two take turns.

    python benchmarks/checkpoints.py --output FOLDER_ON_THE_DISK_OF_THE_RUNS
"""

import argparse
import os
import tempfile
import time

import numpy as np
import torch
from steps import build_trainer, spread

CASE = "R50@224x4"


def measure(checkpointer, in_background):
    """Return the seconds (until a checkpoint lets the run go on, until it is written)."""
    checkpointer.writer.in_background = in_background
    start = time.perf_counter()
    checkpointer.save("model_0000000", iteration=0)
    held_up = time.perf_counter() - start
    checkpointer.writer.wait()
    return held_up, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", help="default: the folder for temporary files")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory(dir=arguments.output) as folder:
        trainer = build_trainer("BYOL", "paper", CASE, folder)
        trainer.step()  # from now on the optimizer has a state
        checkpointer = trainer.checkpointer
        measure(checkpointer, False)
        size = os.path.getsize(os.path.join(folder, "model_0000000.pth"))
        times = np.array([[measure(checkpointer, x) for x in (False, True)]
                          for _ in range(arguments.rounds)])  # fmt: skip
    print(f"BYOL, {CASE}: a checkpoint of {size / 1e6:.0f} MB")
    for name, (held_up, written) in zip(("foreground", "background"), times.transpose(1, 2, 0)):
        print(
            f"{name:12s} held up {spread(held_up, 3):>22s} s   written {spread(written, 3):>22s} s"
        )


if __name__ == "__main__":
    main()
