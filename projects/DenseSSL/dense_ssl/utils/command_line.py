"""Command lines: what the tools for trained models share, and clear errors for wrong options."""

import argparse
import math
import re
import sys

from .checks import nearest
from .quiet import hold_back_torch

_CONFIG_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)+")


def parse_options(parser, arguments=None, keys_last=True):
    """Parse a command line whose rest is ``KEY VALUE``; a wrong option is an error that names it.

    argparse alone takes all that follows an unknown option for keys and values, and then misses
    options that are there.

    Args:
        parser: argparse parser.
        arguments: list of str; None: those of the process.
        keys_last: options behind a config key are an error.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    _check_options(parser, arguments, keys_last)
    return parser.parse_args(arguments)


def positive(text):
    """The type of an option that is a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number above 0")
    return int(text)


def seed(text):
    """The type of an option that is a seed: what numpy and torch both take."""
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 0 to 2147483647")
    return int(text)


def share(text):
    """The type of an option that is a number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number from 0 to 1")
    return number


def _check_options(parser, arguments, keys_last):
    known = [x for action in parser._actions for x in action.option_strings]
    key = ""
    for word in arguments[: arguments.index("--")] if "--" in arguments else arguments:
        name = word.partition("=")[0]
        if not word.startswith("--"):
            key = key or (word if _CONFIG_KEY.fullmatch(word) else "")
        elif not any(x.startswith(name) for x in known):
            parser.error(f"unknown option {name}.{nearest(name, known)}")
        elif key and keys_last:
            parser.error(f"{name} comes after {key}: config keys and values must come last")


def parse_with_config(parser, arguments=None):
    """Add --config-file, --device and ``KEY VALUE`` pairs to a parser, and parse.

    What torch says of detectron2's calls is left out from here on.

    Returns:
        argparse Namespace; ``overrides`` is {config key: value} of the pairs and the device.
    """
    hold_back_torch()
    parser.add_argument("--config-file", default="",
                        help="default: config.yaml in the folder of the weights")  # fmt: skip
    parser.add_argument("--device", default="", help="cpu, cuda, cuda:1; default: a GPU, if any")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE",
                        help="config keys and values; last")  # fmt: skip
    args = parse_options(parser, arguments)
    if len(args.opts) % 2:
        parser.error(f"config keys and values must come in pairs, not as {' '.join(args.opts)}")
    args.overrides = dict(zip(args.opts[::2], args.opts[1::2]))
    if args.device:
        args.overrides["MODEL.DEVICE"] = args.device
    return args
