#!/usr/bin/env python3
"""Bring a backbone's weights from another project into detectron2, or from here to another project.

    python tools/convert_weights.py moco_v2_800ep.pth.tar                # what is it?
    python tools/convert_weights.py moco_v2_800ep.pth.tar backbone.pkl   # for MODEL.WEIGHTS
    python tools/convert_weights.py output/my_scrl/backbone.pkl resnet50.pth --to torchvision
    python tools/convert_weights.py other.pth backbone.pkl MODEL.PIXEL_STD "[1,1,1]"

The formats, and what identifies each, are in docs/weights.md.
"""

import argparse
import sys

from dense_ssl.checkpoint.formats import (
    FORMATS,
    CheckpointError,
    check_stated,
    describe,
    extract_backbone,
    flip_colours,
    read_checkpoint,
    warnings,
    write_backbone,
)
from dense_ssl.checkpoint.formats.settings import STATED_KEYS
from dense_ssl.checkpoint.verify import verify


def main(argv=None):
    """Convert, and print what was found, taken and left out."""
    arguments = parse(argv)
    try:
        run(arguments)
    except (CheckpointError, FileNotFoundError, ImportError, ValueError) as error:
        print(f"{arguments.input}: {error}" if arguments.input not in str(error) else error,
              file=sys.stderr)  # fmt: skip
        return 1
    return 0


def parse(argv):
    """The arguments; settings may stand anywhere behind the files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", help="checkpoint to read: .pth, .pth.tar, .pkl, .safetensors, ...")
    parser.add_argument("output", nargs="?", help="file to write; without it: describe the input")
    parser.add_argument("settings", nargs="*", metavar="KEY VALUE",
                        help="what the weights were trained with, where the file does not tell: "
                        "INPUT.FORMAT, MODEL.PIXEL_MEAN, MODEL.PIXEL_STD, "
                        "MODEL.RESNETS.STRIDE_IN_1X1, MODEL.RESNETS.NORM")  # fmt: skip
    parser.add_argument("--to", choices=FORMATS, default="detectron2", help="whose names to write")
    parser.add_argument("--encoder", choices=("online", "momentum"),
                        help="the trained network or its moving average; default: the one that "
                        "the project itself transfers")  # fmt: skip
    parser.add_argument("--prefix", help="where the names of an unknown project's network start")
    parser.add_argument("--flip-colours", action="store_true",
                        help="write a BGR network for RGB images, or the reverse")  # fmt: skip
    parser.add_argument("--check", action="store_true",
                        help="load what was written into detectron2's backbone")  # fmt: skip
    parser.add_argument("--trust", action="store_true",
                        help="let the input run code; for files whose maker you know")  # fmt: skip
    arguments = parser.parse_intermixed_args(argv)
    if arguments.output in STATED_KEYS:  # no output, but settings
        arguments.settings.insert(0, arguments.output)
        arguments.output = None
    return arguments


def run(arguments):
    """Read, report, write and check."""
    stated = check_stated(arguments.settings)
    checkpoint = read_checkpoint(arguments.input, arguments.trust)
    backbone = extract_backbone(checkpoint, arguments.encoder, arguments.prefix, stated)
    print("\n".join(describe(backbone)))
    if arguments.flip_colours:
        backbone = flip_colours(backbone)
        print(f"colours flipped: it now takes {backbone.settings['INPUT.FORMAT']} images")
    for line in warnings(backbone):
        print(f"note: {line}")
    if not arguments.output:
        return
    rest = write_backbone(backbone, arguments.output, arguments.to)
    if rest:
        print(f"not in {arguments.to}'s format: {len(rest)} tensors ({rest[0]}, ...)")
    print(f"wrote {arguments.output} ({arguments.to})")
    if arguments.check:
        found, wanted = verify(arguments.output, backbone.settings)
        print(f"check: loaded {found} of {wanted} backbone tensors into detectron2")


if __name__ == "__main__":
    sys.exit(main())
