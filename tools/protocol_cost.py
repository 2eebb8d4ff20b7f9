#!/usr/bin/env python3
"""Print a markdown table of the GPU hours of protocols, estimated from FLOPs or measured.

    python tools/protocol_cost.py configs/finetune/*/*.yaml
    python tools/protocol_cost.py configs/finetune/*/*.yaml --gpu A100-bf16 --utilisation 0.2
    python tools/protocol_cost.py configs/finetune/*/*.yaml --num-gpus 8 \\
        --measured '*/mask_rcnn_R_50_FPN_*=0.26' '*/retinanet_R_50_*=output/retinanet/metrics.json'

It needs no GPU, and data only where a length is in epochs (SOLVER.EPOCHS).
"""

import argparse
import fnmatch
import logging
import re
import sys
import warnings

from tabulate import tabulate
from tqdm import tqdm

from dense_ssl.reports.comparison_runs import protocol_name
from dense_ssl.reports.protocol_cost import GPUS, measured_seconds, protocol_costs
from dense_ssl.reports.run_settings import read_config
from dense_ssl.utils.allocator import tune_allocator
from dense_ssl.utils.plain_errors import plain_errors

COLUMNS = (
    "protocol", "iterations x batch", "image", "G multiply-adds", "EFLOP", "GPU hours", "from",
)  # fmt: skip


@plain_errors
def main(arguments=None):
    """Print the table."""
    args = parse_arguments(arguments)
    rate = (args.peak or GPUS[args.gpu]) * args.utilisation * 1e12
    warnings.filterwarnings("ignore", "torch.meshgrid")
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)  # not of interest here
    tune_allocator()
    names = [protocol_name(x) for x in args.protocols]
    measured = read_measured(args.measured, names)
    cfgs = [read_config(x, args.opts) for x in args.protocols]
    costs = tqdm(protocol_costs(cfgs, args.image_size), total=len(cfgs), disable=None)
    rows = [row(x, cost, rate, measured.get(x), args.num_gpus) for x, cost in zip(names, costs)]
    print(tabulate(rows, COLUMNS, tablefmt="github", disable_numparse=True))
    print(f"\n{legend(args, rate, bool(measured))}")


def parse_arguments(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("protocols", nargs="+", metavar="YAML", help="of configs/finetune")
    add("--gpu", default="V100-fp32", choices=GPUS, help="its peak is used")
    add("--peak", type=float, metavar="TFLOPS", help="peak in TFLOP/s instead of --gpu")
    add("--utilisation", type=float, default=0.5, metavar="SHARE",
        help="of the peak that is sustained; default 0.5, as Faster R-CNN on a V100")  # fmt: skip
    add("--measured", nargs="+", default=[], metavar="PROTOCOL=SECONDS",
        help="seconds per iteration, or a metrics.json with them; the name of the protocol may "
        "have the wildcards * and ?")  # fmt: skip
    add("--num-gpus", type=int, default=1, metavar="N", help="of --measured")
    add("--image-size", type=image_size, metavar="WIDTHxHEIGHT",
        help="of the images of the data set; default: typical for its name")  # fmt: skip
    add("--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE",
        help="config keys for every protocol; must be last")  # fmt: skip
    args = parser.parse_args(arguments)
    if not 0 < args.utilisation <= 1:
        parser.error(f"--utilisation {args.utilisation} must be above 0 and at most 1")
    return args


def image_size(text):
    """Parse "640x480" into (width, height)."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT, got {text!r}")
    return int(match[1]), int(match[2])


def read_measured(entries, names):
    """Return {protocol: seconds per iteration} of those that were measured."""
    measured = {}
    for entry in entries:
        pattern, equals, value = entry.partition("=")
        fitting = fnmatch.filter(names, pattern)
        if not equals or not fitting:
            raise ValueError(f"--measured {entry!r}: give PROTOCOL=SECONDS for one of {names}")
        measured.update(dict.fromkeys(fitting, measured_seconds(value)))
    return measured


def row(name, cost, rate, seconds, num_gpus):
    """Return the cells of a protocol."""
    height, width = cost.size
    if not cost.iterations:  # epochs of unknown data
        hours, source = None, "length not known"
    elif seconds is None:
        hours, source = cost.estimated_hours(rate), "FLOPs"
    else:
        hours = cost.measured_hours(seconds, num_gpus)
        sustained = cost.flops / hours / 3600 / 1e12
        source = f"{seconds:.3f} s/it x {num_gpus} ({sustained:.1f} TFLOP/s)"
    return (
        name,
        f"{cost.iterations or '?'} x {cost.batch}",
        f"{width} x {height}",
        f"{cost.multiply_adds.total / 1e9:.1f}",
        f"{cost.flops / 1e18:.2g}" if cost.iterations else "?",
        "?" if hours is None else f"{hours:.0f}" if hours >= 10 else f"{hours:.2g}",
        source,
    )


def legend(args, rate, has_measured):
    """Return an explanation of the numbers."""
    peak = f"{args.peak:g} TFLOP/s" if args.peak else f"{GPUS[args.gpu]:g} TFLOP/s of a {args.gpu}"
    return (
        f"GPU hours from FLOPs are an estimate, not a measurement: at {rate / 1e12:.3g} TFLOP/s, "
        f"{args.utilisation:.0%} of the peak of {peak}. Multiply-adds: a forward pass of an image "
        "of the mean training size. EFLOP: the whole training without evaluation, 2 FLOPs per "
        "multiply-add; forward and backward cost 3 forward passes, frozen modules cost 1."
        + (" GPU hours from s/it: measured seconds x iterations x GPUs." if has_measured else "")
    )


if __name__ == "__main__":
    sys.exit(main())
