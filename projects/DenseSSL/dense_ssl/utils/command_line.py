"""Arguments that the tools for trained models share."""

import argparse

from .quiet import hold_back_torch


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
    args = parser.parse_args(arguments)
    if len(args.opts) % 2:
        parser.error(f"config keys and values must come in pairs, not as {' '.join(args.opts)}")
    args.overrides = dict(zip(args.opts[::2], args.opts[1::2]))
    if args.device:
        args.overrides["MODEL.DEVICE"] = args.device
    return args
