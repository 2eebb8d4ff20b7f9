#!/usr/bin/env python3
"""Compare backbones: pre-train and fine-tune each with several protocols and seeds; print tables.

    python tools/compare.py --backbones random scrl=output/scrl/backbone.pkl \\
        --protocols configs/finetune/COCO-Detection/*.yaml --seeds 1 2 3 --num-gpus 8 \\
        --output output/compare [KEY VALUE ...]

Each run is a train_net.py process with the folder OUTPUT/PROTOCOL/BACKBONE/seedK. If a backbone is
the yaml of a pre-training, it is pre-trained once for each seed, in
OUTPUT/pretraining/BACKBONE/seedK. After a stop, the same command continues; finished runs are not
repeated. Several of these commands, on several GPUs or on machines that share OUTPUT, divide the
runs among themselves. The tables are written to OUTPUT/comparison.md, .csv, .json and .png.
@FILE reads arguments from a file:

    python tools/compare.py @configs/study/camvid.txt
"""

import argparse
import os
import shlex
import signal
import sys
from pathlib import Path

from dense_ssl.reports.comparison import compare
from dense_ssl.reports.comparison_backbones import Backbone
from dense_ssl.reports.comparison_files import commits_note, markdown_report, write_reports
from dense_ssl.reports.comparison_grid import Grid
from dense_ssl.reports.comparison_plan import plan_runs
from dense_ssl.reports.comparison_pretraining import find_pretrainings
from dense_ssl.reports.comparison_runs import (
    Protocol,
    check_comparable,
    find_runs,
    protocol_name,
)
from dense_ssl.reports.comparison_training import run_missing, train_command, with_pretrainings
from dense_ssl.reports.rank_correlation import correlation_notes, probe_correlations
from dense_ssl.utils.command_line import parse_options
from dense_ssl.utils.exit_codes import INTERRUPTED, REQUEUE

TRAIN_NET = [sys.executable, str(Path(__file__).resolve().parents[1] / "train_net.py")]
PROBE = [sys.executable, str(Path(__file__).resolve().with_name("roi_probe.py"))]


def main(arguments=None):
    """Train the missing runs and report; returns the exit status."""
    args = parse_arguments(arguments)
    try:
        runs = recorded_runs(args) if args.report_only else planned_runs(args)
    except (ValueError, FileNotFoundError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    grid = Grid(runs)
    if args.dry_run:
        list_runs(runs, grid, args.num_gpus)
        return 0
    failed, elsewhere = [], []
    if not args.report_only:
        try:
            failed, elsewhere = run_missing(
                runs, (TRAIN_NET, PROBE), args.num_gpus, lambda: write_table(grid, args),
                grid.is_needed, args.delete_checkpoints,
            )  # fmt: skip
        except KeyboardInterrupt:
            print("\nStopped. The same command continues.")
            return INTERRUPTED
    print_table(write_table(grid, args), args.output)
    for run in failed:
        print(f"FAILED: {run}")
    for run in elsewhere:
        print(f"another process is training: {run}")
    return 1 if any(not run.is_done() for run in runs if grid.is_needed(run)) else 0


def parse_arguments(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        fromfile_prefix_chars="@",
    )  # fmt: skip
    parser.convert_arg_line_to_args = lambda line: shlex.split(line, comments=True)
    add = parser.add_argument
    add("--backbones", nargs="+", default=[], metavar="NAME=PATH",
        help="'random', PATH or NAME=PATH: weights, or the yaml of a pre-training. {seed} in the "
        "path of weights is replaced by the seed")  # fmt: skip
    add("--protocols", nargs="+", default=[], metavar="YAML", help="of configs/finetune")
    add("--seeds", nargs="+", type=int, metavar="SEED",
        help="of pre-training and fine-tuning; default: 1 2 3")  # fmt: skip
    add("--reference", nargs="+", default=[], metavar="NAME",
        help="backbones that the others are compared with; default: the first one")  # fmt: skip
    add("--output", default="output/compare", type=Path, metavar="DIR")
    add("--num-gpus", type=int, default=1, help="of each run")
    add("--metrics", nargs="+", default=[], metavar="NAME",
        help="columns, such as bbox/AP 'segm/*'; default: AP, AP50, AP75, mIoU")  # fmt: skip
    add("--grid", nargs="+", default=[], metavar="KEY VALUE",
        help="run each protocol with each value of a key, such as SOLVER.BASE_LR 0.01 0.02, on "
        "the first seed, and the best value of each backbone on the others")  # fmt: skip
    add("--probe", default="", metavar="FEATURE",
        help="also classify the boxes or label maps of the data on this feature map of each "
        "backbone (tools/roi_probe.py), and correlate with the other scores")  # fmt: skip
    add("--pretrain-opts", nargs="+", default=[], metavar="KEY VALUE",
        help="config keys for every pre-training")  # fmt: skip
    add("--delete-checkpoints", action="store_true",
        help="delete the .pth files of a run once it is done; backbone.pkl stays")  # fmt: skip
    add("--dry-run", action="store_true", help="list the runs and stop")
    add("--report-only", action="store_true",
        help="do not train; without other options, report every run in OUTPUT")  # fmt: skip
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys for every "
        "fine-tuning, after an option with one value (such as --output) or after '--'")  # fmt: skip
    args = parse_options(parser, arguments, keys_last=False)
    args.opts = [x for x in args.opts if x != "--"]
    if not args.report_only and not (args.backbones and args.protocols):
        parser.error("--backbones and --protocols are required, except with --report-only")
    missing = [x for x in args.protocols if not os.path.isfile(x)]
    if missing and not args.report_only:
        parser.error(
            f"--protocols: there is no file {missing[0]}. (KEY VALUE pairs come last, after an "
            "option with one value or after '--'.)"
        )
    if len(args.grid) == 1:
        parser.error(f"--grid: give values of {args.grid[0]}")
    return args


def planned_runs(args):
    """Return the requested runs; ValueError if a folder has a run with other settings."""
    backbones = [Backbone.parse(x) for x in args.backbones]
    check_references(args, [x.name for x in backbones])
    runs = plan_runs(
        backbones, args.protocols, args.seeds or [1, 2, 3], args.output, tuple(args.opts),
        args.num_gpus, tuple(args.pretrain_opts), tuple(args.grid), args.probe,
    )  # fmt: skip
    conflicts = [(step, step.conflict()) for step in with_pretrainings(runs)]
    texts = [f"  {step.folder}\n{text}" for step, text in conflicts if text]
    if texts:
        raise ValueError(
            "these folders have runs with other settings than the requested ones:\n"
            + "\n".join(texts)
            + "\nRequest the same settings, choose another --output, or delete these folders."
        )
    return runs


def recorded_runs(args):
    """Return the runs in OUTPUT, or those that the options select, in the order of the options."""
    runs, protocols = find_runs(args.output), [protocol_name(x) for x in args.protocols]
    if args.probe:  # one for each folder of protocols
        protocols += dict.fromkeys(Protocol(x, probe=args.probe).name for x in args.protocols)
    for key, selected in (
        ("seed", args.seeds),
        ("backbone", [name_of(x) for x in args.backbones]),
        ("protocol", protocols),
    ):
        if selected:
            of = base_protocol if key == "protocol" else lambda run, key=key: getattr(run, key)
            runs = [x for x in runs if of(x) in selected]
            runs.sort(key=lambda run, of=of, order=selected: order.index(of(run)))
    if not runs:
        raise ValueError(f"--report-only: no such run in {args.output}")
    check_references(args, [x.backbone for x in runs])
    check_comparable(runs)
    return runs


def name_of(backbone):
    """Return the name in an argument of --backbones, which may be a name alone."""
    is_name = "/" not in backbone and "=" not in backbone and not os.path.isfile(backbone)
    return backbone if is_name else Backbone.parse(backbone).name


def base_protocol(run):
    """Return the name of a run's protocol, or of the one that it is a variant of."""
    return run.variant[0] if run.variant else run.protocol


def check_references(args, names):
    """Raise ValueError if a reference is no backbone."""
    for name in args.reference:
        if name not in names:
            raise ValueError(f"--reference: {name!r} is none of {', '.join(dict.fromkeys(names))}.")


def list_runs(runs, grid, num_gpus):
    """Print the state of each training, and the commands of those that are not done."""
    later = [x for x in runs if x.variant and x.seed != grid.first_seed and not grid.is_needed(x)]
    for step in with_pretrainings(runs):
        is_later = any(x is step for x in later)
        state = "only if its value is the best of the grid" if is_later else step.state()
        print(f"{step}: {state}")
        if state != "done":
            print(f"    {shlex.join(train_command(step, (TRAIN_NET, PROBE), num_gpus))}")


def write_table(grid, args):
    """Write the table of the results so far; returns the comparison."""
    runs = [x for x in grid.runs if grid.is_needed(x) or x.is_done()]
    best, notes = grid.best()
    trainings = [*find_pretrainings(args.output), *filter(None, map(saved, runs))]
    # a run that is not done is listed by its own protocol already
    done = [x for x in best if x.is_done()]
    comparison = compare([*runs, *done], args.metrics, args.reference)
    correlations = probe_correlations(comparison)
    comparison.notes += [*notes, *correlation_notes(correlations)]
    comparison.notes += filter(None, [commits_note(trainings)])
    write_reports(comparison, args.output, trainings, correlations)
    return comparison


def saved(run):
    """Return a run as its RECORD has it, None without one."""
    return run.read(run.folder)


def print_table(comparison, output):
    """Print the table and draw the plot."""
    if comparison.columns:
        from dense_ssl.visualization.comparison import draw_comparison

        draw_comparison(comparison, output / "comparison.png")
    print(f"\n{markdown_report(comparison)}\nIn {output}: comparison.md, .csv, .json, .png")


def stop_on_signals():
    """Let the signals of schedulers end the training process too, and ask for another start."""
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda *_: sys.exit(REQUEUE))


if __name__ == "__main__":
    stop_on_signals()
    sys.exit(main())
