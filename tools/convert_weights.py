#!/usr/bin/env python3
"""Convert a backbone's weights from another project to detectron2, or from here to another project.

    python tools/convert_weights.py moco_v2_800ep.pth.tar                # what is it?
    python tools/convert_weights.py moco_v2_800ep.pth.tar backbone.pkl   # for MODEL.WEIGHTS
    python tools/convert_weights.py output/my_scrl/backbone.pkl resnet50.pth --to torchvision
    python tools/convert_weights.py other.pth backbone.pkl MODEL.PIXEL_STD "[1,1,1]"

docs/weights.md lists the formats and how a file is recognised.
"""

import argparse
import sys
from pathlib import Path

from torch import nn

from dense_ssl.checkpoint import Checkpointer, backbone_settings
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
from dense_ssl.checkpoint.formats.architecture import build
from dense_ssl.checkpoint.formats.settings import STATED_KEYS
from dense_ssl.checkpoint.stock import stock_yaml, write_stock_yaml
from dense_ssl.utils.plain_errors import plain_errors


@plain_errors
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
    """Parse the command line; settings can be anywhere after the files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", help="checkpoint to read: .pth, .pth.tar, .pkl, .safetensors, ...")
    parser.add_argument("output", nargs="?", help="file to write; without it: describe the input")
    parser.add_argument("settings", nargs="*", metavar="KEY VALUE",
                        help="what the weights were trained with, if the file does not say it: "
                        "INPUT.FORMAT, MODEL.PIXEL_MEAN, MODEL.PIXEL_STD, "
                        "MODEL.RESNETS.STRIDE_IN_1X1, MODEL.RESNETS.NORM")  # fmt: skip
    parser.add_argument("--to", choices=FORMATS, default="detectron2", help="whose names to write")
    parser.add_argument("--encoder", choices=("online", "momentum"),
                        help="the trained network or its moving average; default: the one that "
                        "the project itself transfers")  # fmt: skip
    parser.add_argument("--prefix", help="start of the names of an unknown project's network")
    parser.add_argument("--flip-colours", action="store_true",
                        help="write a BGR network for RGB images, or the reverse")  # fmt: skip
    parser.add_argument("--check", action="store_true",
                        help="load what was written into detectron2's backbone")  # fmt: skip
    parser.add_argument("--trust", action="store_true",
                        help="let the input run code; only for sources you trust")  # fmt: skip
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
    if arguments.output.endswith(".pkl"):
        keys = {**backbone.architecture, **backbone.settings}
        path = write_stock_yaml(stock_yaml(keys, Path(arguments.output).name), arguments.output)
        print(f"wrote {path} (for a stock detectron2 config)" if path else
              "wrote no config for stock detectron2: another yaml has its name")  # fmt: skip
    if arguments.check:
        found, total = load(arguments.output, backbone.settings)
        print(f"check: loaded {found} of {total} backbone tensors into detectron2")


def load(path, stated):
    """Load a written file as ``MODEL.WEIGHTS`` of the detectron2 backbone that it belongs to.

    Args:
        path: file in any of the formats.
        stated: {config key: value} that the file itself may not keep.

    Returns:
        (tensors filled, tensors of the backbone)

    Raises:
        ValueError: a tensor is missing, or has another shape.
    """
    backbone = extract_backbone(read_checkpoint(path), stated=stated)
    model = nn.Module()
    model.backbone, cfg = build({**backbone.architecture, **backbone.settings})
    # the model is built from the file's own settings: there is nothing to compare
    settings = backbone_settings(cfg)
    checkpointer = Checkpointer(model, settings=settings, check=False, needed="backbone")
    checkpointer.load(str(path))
    return checkpointer.loaded


if __name__ == "__main__":
    sys.exit(main())
