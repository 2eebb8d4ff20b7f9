#!/usr/bin/env python3
"""Pre-train a backbone without labels, or fine-tune and evaluate a detector.

MODEL.META_ARCHITECTURE in the config file decides which. The command line is detectron2's own; see
README.md. In Python, dense_ssl.train and dense_ssl.evaluate do the same (docs/python.md).
"""

import sys

from detectron2.engine import default_argument_parser

from dense_ssl.engine import launch, run_command
from dense_ssl.utils.command_line import parse_options
from dense_ssl.utils.plain_errors import plain_errors


@plain_errors
def main():
    """Run what the command line asks for."""
    launch(run_command, parse_options(default_argument_parser()))


if __name__ == "__main__":
    sys.exit(main())
