#!/usr/bin/env python3
"""Export a model to a file that needs neither DenseSSL nor detectron2.

    python tools/export.py --weights output/my_detector --format onnx --output exported
    python tools/export.py --weights output/my_scrl --format torchscript --output exported

The file is kept only if it does on images what the model does. docs/deployment.md says what can be
exported, and how to run the file.
"""

import argparse
import logging
import sys

from dense_ssl.export import export_model, load_source
from dense_ssl.export.verify import limit_of
from dense_ssl.utils.command_line import parse_with_config, positive
from dense_ssl.utils.plain_errors import plain_errors


@plain_errors
def main(arguments=None):
    """Export, and print the largest differences; 1 where that fails."""
    args = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    cfg, module, classes = load_source(args.weights, args.config_file or None, args.overrides)
    path, facts = export_model(
        cfg, module, args.format, args.output,
        folder=args.images, size=args.image_size, classes=classes,
    )  # fmt: skip
    report(path, facts)
    return 0


def parse_arguments(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True,
                        help="folder of a run, or a weights file")  # fmt: skip
    parser.add_argument("--format", required=True, choices=("torchscript", "onnx"))
    parser.add_argument("--output", required=True, help="folder to write to")
    parser.add_argument("--images", default="", metavar="FOLDER",
                        help="images to compare on; default: generated scenes")  # fmt: skip
    parser.add_argument("--image-size", type=positive, nargs=2, metavar=("HEIGHT", "WIDTH"),
                        help="the only size that the file takes; default: any size")  # fmt: skip
    return parse_with_config(parser, arguments)


def report(path, facts):
    """Print what was written and how well it agrees."""
    verified = facts["verified"]
    print(f"compared with the model on {verified['inputs']} inputs; largest differences:")
    for name, value in verified["largest_difference"].items():
        limit, unit = limit_of(name)
        print(f"  {name}: {value:.2g} {unit} (accepted: {limit:g})".replace("  (", " ("))
    print(f"wrote {path} and {path}.json")


if __name__ == "__main__":
    sys.exit(main())
