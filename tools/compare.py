#!/usr/bin/env python3
"""Compare backbones: fine-tune each by each protocol with several seeds, and print one table.

    python tools/compare.py --backbones random scrl=output/scrl/backbone.pkl \\
        --protocols configs/finetune/COCO-Detection/*.yaml --seeds 1 2 3 --num-gpus 8 \\
        --output output/compare [KEY VALUE ...]

Runs are train_net.py processes in OUTPUT/PROTOCOL/BACKBONE/seedK. The same command goes on where
one was stopped and does nothing twice. Several at once, on several GPUs or machines with a shared
OUTPUT, share the runs among themselves. The table goes to OUTPUT/comparison.md, .csv, .json, .png.
"""

import argparse
import os
import shlex
import shutil
import signal
import sys
from pathlib import Path

from dense_ssl.reports.comparison import compare
from dense_ssl.reports.comparison_files import markdown_report, write_reports
from dense_ssl.reports.comparison_runs import (
    Backbone,
    check_comparable,
    find_runs,
    plan_runs,
    protocol_name,
)
from dense_ssl.reports.comparison_training import run_missing, state_of, train_command

TRAIN_NET = [sys.executable, str(Path(__file__).resolve().parents[1] / "train_net.py")]


def main(arguments=None):
    """Run what is missing and report; returns the exit status."""
    args = parse_arguments(arguments)
    try:
        runs = recorded_runs(args) if args.report_only else planned_runs(args)
    except (ValueError, FileNotFoundError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    if args.dry_run:
        return list_runs(runs, args.num_gpus)
    failed, elsewhere = [], []
    if not args.report_only:
        try:
            failed, elsewhere = run_missing(
                runs, TRAIN_NET, args.num_gpus, lambda: write_table(runs, args)
            )
        except KeyboardInterrupt:
            print("\nStopped. The same command goes on from here.")
            return 130
    comparison = write_table(runs, args)
    if comparison.columns:
        from dense_ssl.visualization.comparison import draw_comparison

        draw_comparison(comparison, args.output / "comparison.png")
    print_table(comparison, args.output)
    for run in failed:
        print(f"FAILED: {run}")
    for run in elsewhere:
        print(f"in the hands of another process: {run}")
    return 1 if any(run.results() is None for run in runs) else 0


def parse_arguments(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--backbones", nargs="+", default=[], metavar="NAME=PATH",
        help="'random', PATH or NAME=PATH; the first is the reference. {seed} in a path stands for "
        "the seed, where each has a pre-training of its own")  # fmt: skip
    add("--protocols", nargs="+", default=[], metavar="YAML", help="of configs/finetune")
    add("--seeds", nargs="+", type=int, metavar="SEED", help="default: 1 2 3")
    add("--output", default="output/compare", metavar="DIR")
    add("--num-gpus", type=int, default=1, help="of each run")
    add("--metrics", nargs="+", default=[], metavar="NAME",
        help="columns, such as bbox/AP 'segm/*'; default: AP, AP50, AP75, mIoU")  # fmt: skip
    add("--dry-run", action="store_true", help="list the runs and stop")
    add("--report-only", action="store_true",
        help="train nothing; by default of everything that OUTPUT holds")  # fmt: skip
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys for every run, "
        "behind an option with one value (such as --output) or behind '--'")  # fmt: skip
    args = parser.parse_args(arguments)
    args.opts = [x for x in args.opts if x != "--"]
    args.output = Path(args.output)
    if args.report_only:
        return args
    if not (args.backbones and args.protocols):
        parser.error("--backbones and --protocols are needed (but for --report-only)")
    for path in args.protocols:
        if not os.path.isfile(path):
            parser.error(
                f"--protocols: {path} is no file. (KEY VALUE pairs stand at the end, behind an "
                "option with one value or behind '--'.)"
            )
    return args


def planned_runs(args):
    """The runs that the command line asks for; ValueError where a folder holds other ones."""
    backbones = [Backbone.parse(x) for x in args.backbones]
    options = backbones, args.protocols, args.seeds or [1, 2, 3], args.output
    runs = plan_runs(*options, tuple(args.opts), args.num_gpus)
    conflicts = [(run, run.conflict()) for run in runs]
    texts = [f"  {run.folder}\n{text}" for run, text in conflicts if text]
    if texts:
        raise ValueError(
            "these runs were made with other settings than are asked for now:\n"
            + "\n".join(texts)
            + "\nAsk for the settings that they have, choose another --output, or delete them."
        )
    return runs


def recorded_runs(args):
    """The runs in OUTPUT, or those of them that the command line names."""
    runs = find_runs(args.output)
    names = [x.partition("=")[0] for x in args.backbones]
    protocols = [protocol_name(x) for x in args.protocols]
    if args.seeds:
        runs = [x for x in runs if x.seed in args.seeds]
    if names:
        runs = [x for x in runs if x.backbone in names]
        runs.sort(key=lambda x: names.index(x.backbone))
    if protocols:
        runs = [x for x in runs if x.protocol in protocols]
        runs.sort(key=lambda x: protocols.index(x.protocol))
    if not runs:
        raise ValueError(f"--report-only: no such run in {args.output}")
    check_comparable(runs)
    return runs


def list_runs(runs, num_gpus):
    """Print what there is, and the commands of what is not."""
    for run in runs:
        state = state_of(run)
        print(f"{run}: {state}")
        if state != "done":
            print(f"    {shlex.join(train_command(run, TRAIN_NET, num_gpus))}")
    return 0


def write_table(runs, args):
    """Write the table as it is now; returns it."""
    comparison = compare(runs, args.metrics)
    write_reports(comparison, args.output)
    return comparison


def print_table(comparison, output):
    """Print the table, by protocol where it is wider than the terminal."""
    text = markdown_report(comparison)
    if len(text.splitlines()[0]) > shutil.get_terminal_size((120, 24)).columns:
        text = markdown_report(comparison, by_protocol=True)
    print(f"\n{text}\nIn {output}: comparison.md, .csv, .json, .png")


if __name__ == "__main__":
    # so that a training process that was started does not outlive this one
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
