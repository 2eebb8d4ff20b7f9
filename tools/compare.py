#!/usr/bin/env python3
"""Compare backbones: fine-tune each with several protocols and seeds, and print tables.

    python tools/compare.py --backbones random scrl=output/scrl/backbone.pkl \\
        --protocols configs/finetune/COCO-Detection/*.yaml --seeds 1 2 3 --num-gpus 8 \\
        --output output/compare [KEY VALUE ...]

Each run is a train_net.py process with the folder OUTPUT/PROTOCOL/BACKBONE/seedK. After a stop, the
same command continues; finished runs are not repeated. Several of these commands, on several GPUs
or on machines that share OUTPUT, divide the runs among themselves. The tables are written to
OUTPUT/comparison.md, .csv, .json and .png.
"""

import argparse
import os
import shlex
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
    """Train the missing runs and report; returns the exit status."""
    args = parse_arguments(arguments)
    try:
        runs = recorded_runs(args) if args.report_only else planned_runs(args)
    except (ValueError, FileNotFoundError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    if args.dry_run:
        list_runs(runs, args.num_gpus)
        return 0
    failed, elsewhere = [], []
    if not args.report_only:
        try:
            failed, elsewhere = run_missing(
                runs, TRAIN_NET, args.num_gpus, lambda: write_table(runs, args)
            )
        except KeyboardInterrupt:
            print("\nStopped. The same command continues.")
            return 130
    print_table(write_table(runs, args), args.output)
    for run in failed:
        print(f"FAILED: {run}")
    for run in elsewhere:
        print(f"another process is training: {run}")
    return 1 if any(run.results() is None for run in runs) else 0


def parse_arguments(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--backbones", nargs="+", default=[], metavar="NAME=PATH",
        help="'random', PATH or NAME=PATH; the first is the reference. {seed} in a path is "
        "replaced by the seed, for a backbone with a pre-training per seed")  # fmt: skip
    add("--protocols", nargs="+", default=[], metavar="YAML", help="of configs/finetune")
    add("--seeds", nargs="+", type=int, metavar="SEED", help="default: 1 2 3")
    add("--output", default="output/compare", type=Path, metavar="DIR")
    add("--num-gpus", type=int, default=1, help="of each run")
    add("--metrics", nargs="+", default=[], metavar="NAME",
        help="columns, such as bbox/AP 'segm/*'; default: AP, AP50, AP75, mIoU")  # fmt: skip
    add("--dry-run", action="store_true", help="list the runs and stop")
    add("--report-only", action="store_true",
        help="do not train; without other options, report every run in OUTPUT")  # fmt: skip
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys for every run, "
        "after an option with one value (such as --output) or after '--'")  # fmt: skip
    args = parser.parse_args(arguments)
    args.opts = [x for x in args.opts if x != "--"]
    if not args.report_only and not (args.backbones and args.protocols):
        parser.error("--backbones and --protocols are required, except with --report-only")
    missing = [x for x in args.protocols if not os.path.isfile(x)]
    if missing and not args.report_only:
        parser.error(
            f"--protocols: there is no file {missing[0]}. (KEY VALUE pairs come last, after an "
            "option with one value or after '--'.)"
        )
    return args


def planned_runs(args):
    """Return the requested runs; ValueError if a folder has a run with other settings."""
    backbones = [Backbone.parse(x) for x in args.backbones]
    seeds = args.seeds or [1, 2, 3]
    runs = plan_runs(backbones, args.protocols, seeds, args.output, tuple(args.opts), args.num_gpus)
    conflicts = [(run, run.conflict()) for run in runs]
    texts = [f"  {run.folder}\n{text}" for run, text in conflicts if text]
    if texts:
        raise ValueError(
            "these folders have runs with other settings than the requested ones:\n"
            + "\n".join(texts)
            + "\nRequest the same settings, choose another --output, or delete these folders."
        )
    return runs


def recorded_runs(args):
    """Return the runs in OUTPUT, or those that the options select, in the order of the options."""
    runs = find_runs(args.output)
    for key, selected in (
        ("seed", args.seeds),
        ("backbone", [x.partition("=")[0] for x in args.backbones]),
        ("protocol", [protocol_name(x) for x in args.protocols]),
    ):
        if selected:
            runs = [x for x in runs if getattr(x, key) in selected]
            runs.sort(key=lambda run, key=key, order=selected: order.index(getattr(run, key)))
    if not runs:
        raise ValueError(f"--report-only: no such run in {args.output}")
    check_comparable(runs)
    return runs


def list_runs(runs, num_gpus):
    """Print the state of each run, and the commands of those that are not done."""
    for run in runs:
        state = state_of(run)
        print(f"{run}: {state}")
        if state != "done":
            print(f"    {shlex.join(train_command(run, TRAIN_NET, num_gpus))}")


def write_table(runs, args):
    """Write the table of the results so far; returns the comparison."""
    comparison = compare(runs, args.metrics)
    write_reports(comparison, args.output)
    return comparison


def print_table(comparison, output):
    """Print the table and draw the plot."""
    if comparison.columns:
        from dense_ssl.visualization.comparison import draw_comparison

        draw_comparison(comparison, output / "comparison.png")
    print(f"\n{markdown_report(comparison)}\nIn {output}: comparison.md, .csv, .json, .png")


if __name__ == "__main__":
    # so that SIGTERM also stops the training process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
