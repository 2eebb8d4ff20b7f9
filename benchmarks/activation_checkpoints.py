"""Memory and time of a training step with activation checkpointing, relative to one without.

Both steps take turns in one process. Memory is the estimate that a run prints, which tests compare
with measured peaks. The table shows the median ratio of times and its range over the rounds.

    python benchmarks/activation_checkpoints.py
    python benchmarks/activation_checkpoints.py --threads 1 --cpu-time       on a shared machine
"""

import argparse
import tempfile
import time

import torch
from steps import TARGETS, build_trainer, in_turns, spread

from dense_ssl.engine.memory import estimate_memory
from dense_ssl.modeling.activation_checkpoints import checkpoint_activations

PARTS = slice(0, 2)  # images that the estimate needs


def build(method, case, checkpointed):
    """Return a trainer; its output folder may go, as nothing is written in the steps timed."""
    with tempfile.TemporaryDirectory() as output:
        trainer = build_trainer(method, "paper", case, output)
    if checkpointed:
        checkpoint_activations(trainer.model.backbone)
    return trainer


def memory_per_image(trainer):
    """Return the bytes that the backward pass needs of an image."""
    batch = trainer.data_loader.batch
    views = [{k: x[PARTS] for k, x in view.items()} for view in batch["views"]]
    small = {**{k: x[PARTS] for k, x in batch.items() if k != "views"}, "views": views}
    precision = trainer._trainer.precision
    return estimate_memory(trainer.model, small, 1, precision=precision).per_image


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cases", nargs="+", default=["R18@128x32", "R50@224x8"])
    parser.add_argument("--methods", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="for shared machines")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    print(f"{'':20s} {'MB per image':>16s} {'ratio of times':>21s}")
    for case in arguments.cases:
        for method in arguments.methods:
            plain, changed = (build(method, case, x) for x in (False, True))
            bytes_ = [memory_per_image(x) / 1e6 for x in (plain, changed)]
            for _ in range(2):
                plain.step(), changed.step()
            one, other = in_turns((plain.step, changed.step), arguments.rounds, clock).T
            print(f"{case + ' ' + method:20s} {bytes_[0]:6.1f} -> {bytes_[1]:6.1f} "
                  f"{spread(other / one, 3):>21s}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
