#!/usr/bin/env python3
"""Show what backbones have learned: the analyses of the papers, for any weights and data.

    python tools/analyze.py NAME --weights scrl=output/my_scrl/backbone.pkl byol=output/my_byol \\
        --data voc:VOC2012:val --output analyses
    python tools/analyze.py NAME --config-file configs/Base-Input.yaml \\
        --weights moco=moco_v2_800ep.pth.tar --data folder:PHOTOS --output analyses
    python tools/analyze.py NAME --help

It writes NAME.json and figures; docs/analyses.md describes each analysis.
"""

import argparse
import logging
import os
import sys
from dataclasses import asdict, fields

from dense_ssl.analysis.job import Job
from dense_ssl.analysis.registry import all_analyses, flag
from dense_ssl.utils.command_line import parse_with_config, positive, seed
from dense_ssl.utils.plain_errors import plain_errors


@plain_errors
def main(arguments=None):
    """Run an analysis, and print the paths of what it wrote; return the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    kinds = all_analyses()
    if not arguments or arguments[0] not in kinds:
        names = "\n".join(f"  {x:15} {_summary(kind)}" for x, kind in kinds.items())
        print(f"{__doc__}\nNAME is one of\n{names}")
        return 0 if arguments in (["-h"], ["--help"]) else 2
    kind = kinds[arguments[0]]
    args = parse_arguments(kind, arguments[1:])
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("fvcore").setLevel(logging.ERROR)  # the heads of a model are not used
    analysis = kind(**{x.name: getattr(args, x.name) for x in fields(kind.Options)})
    job = Job(
        weights=named_weights(args.weights), data=args.data,
        config_file=args.config_file or None, overrides=args.overrides, seed=args.seed,
        norm_images=args.norm_images, norm_statistics=args.norm_statistics,
    )  # fmt: skip
    numbers, figures = analysis.run(job)
    paths = job.write(analysis, numbers, figures, args.output, args.figures)
    for path in paths:
        print(f"wrote {path}")
    return 0


def parse_arguments(kind, arguments):
    """The command line of an analysis."""
    parser = argparse.ArgumentParser(
        prog=f"analyze.py {kind.name}", description=f"{_summary(kind)} ({kind.source})"
    )
    parser.add_argument("--weights", nargs="+", default=[], metavar="NAME=FILE",
                        help="weights that MODEL.WEIGHTS takes, or the folder of a run; NAME is "
                        "what figures call them")  # fmt: skip
    parser.add_argument(
        "--data",
        default="",
        metavar="ENTRY",
        help="entry of DATASETS, such as voc:ROOT:SPLIT, or folder:IMAGES",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--figures", nargs="+", default=["png"], choices=["png", "svg"],
                        help="formats of the figures; default png")  # fmt: skip
    parser.add_argument(
        "--seed",
        type=seed,
        default=0,
        help="of all that is drawn, and of the random weights; default 0",
    )
    parser.add_argument("--norm-statistics", default="file", choices=["file", "data"],
                        help="batch norm statistics: of the weights (the random ones get those of "
                        "the data), or of the data for all; default file")  # fmt: skip
    parser.add_argument(
        "--norm-images",
        type=positive,
        default=100,
        help="images that they are estimated on; default 100",
    )
    defaults = asdict(kind.Options())
    for item in fields(kind.Options):
        add_option(parser, item, defaults[item.name])
    return parse_with_config(parser, arguments)


def add_option(parser, item, default):
    """Add an option of an analysis to the command line."""
    name, text = f"--{flag(item.name)}", item.metadata["help"]
    text += f"; default {default}" if default not in ("", None) else ""
    if isinstance(default, bool):
        parser.add_argument(name, action=argparse.BooleanOptionalAction, default=default, help=text)
    else:
        parser.add_argument(name, type=type(default), default=default, help=text,
                            choices=item.metadata["choices"])  # fmt: skip


def named_weights(words):
    """["a=x.pkl", "runs/b"] -> {"a": "x.pkl", "b": "runs/b"}."""
    found = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or os.path.exists(word):  # a folder of tools/compare.py may have a "="
            name, path = os.path.basename(os.path.abspath(word)), word
        if name in found:
            raise ValueError(f"--weights: {name!r} is there twice; call one differently.")
        found[name] = path
    return found


def _summary(kind):
    return kind.__doc__.partition("\n")[0].rstrip(".")


if __name__ == "__main__":
    sys.exit(main())
