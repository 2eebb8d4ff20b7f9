"""Time of a step of every method, relative to the backbone passes that it needs.

As steps.py, with the yaml of each method's ResNet-50 for COCO: its heads, queues, optimizer and
views, of photo-like images through the loader. Other sizes of views are scaled alike.

    python benchmarks/every_step.py --threads 1 --cpu-time
    python benchmarks/every_step.py --threads 1 --cpu-time --depth 18 --side 128 --batch 32
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch
from steps import backbone_passes, in_turns, spread

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the paper's yaml of each method

from gpu_parts.common import Settings, fixed_trainer, pretrain_config  # noqa: E402
from helpers import METHODS  # noqa: E402

from dense_ssl.utils.allocator import tune_allocator  # noqa: E402


def trainers(arguments, *options):
    """Yield (method, trainer on one batch of its own loader, its backbone passes alone).

    Args:
        arguments: of :func:`step_arguments`. options: config keys and values.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.of_cpu(folder)
        for method in arguments.methods:
            trainer = build(settings, method, arguments, *options)
            yield method, trainer, backbone_passes(trainer)


def build(settings, method, arguments, *options):
    """Return a trainer on one batch of its own loader."""
    options = ["SOLVER.AMP.ENABLED", True, *options]
    if arguments.depth < 50:
        options += ["MODEL.RESNETS.DEPTH", arguments.depth, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64]
    cfg = pretrain_config(settings, method, arguments.batch, *options)
    if arguments.side != 224:
        steps = [round(x * arguments.side / 224 / 32) for x in cfg.INPUT.VIEWS.SIZE]
        cfg.INPUT.VIEWS.SIZE = tuple(32 * x for x in steps)
    return fixed_trainer(cfg)


def step_arguments(parser):
    """Add the options of :func:`build`, and parse all."""
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--depth", type=int, default=50, help="of the ResNet")
    parser.add_argument("--side", type=int, default=224, help="of the views that have 224 pixels")
    parser.add_argument("--batch", type=int, default=8)
    return parser.parse_args()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="for shared machines")
    arguments = step_arguments(parser)

    torch.set_num_threads(arguments.threads)
    tune_allocator()
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    print(f"ResNet-{arguments.depth}, {arguments.side} pixels, batch {arguments.batch}, bfloat16")
    for method, trainer, passes in trainers(arguments):
        for _ in range(2):
            trainer.step(), passes()
        step, ideal = 1e3 * in_turns((trainer.step, passes), arguments.rounds, clock).T
        print(f"{method:22s} {spread(step, 0):>18s} {spread(ideal, 0):>18s} ms "
              f"{spread(step / ideal, 3):>21s}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
