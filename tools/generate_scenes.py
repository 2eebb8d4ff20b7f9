#!/usr/bin/env python3
"""Draw DenseSSL's own data set: many unlabelled scenes, a few labelled ones in COCO format.

    python tools/generate_scenes.py --output datasets/scenes

The same arguments and library versions give the same pixels. A second run with the same arguments
does nothing; a run after an interrupted one starts again from the beginning.
"""

import argparse
import re
import sys

from dense_ssl.scenes import CLASS_NAMES, MAX_CLASSES, SceneSpec, write_scenes
from dense_ssl.utils.plain_errors import plain_errors


def image_size(text):
    """Parse "128" or "160x120" into (width, height)."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"expected a side or WIDTHxHEIGHT, got {text!r}")
    return int(match[1]), int(match[2] or match[1])


def parse_args(arguments=None):
    """Parse the command line, or the given list of arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        epilog="Classes, in order: " + ", ".join(CLASS_NAMES) + ".",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--output", required=True, metavar="DIR", help="folder to write to; made if needed")
    add("--num-unlabeled", type=int, default=3000, metavar="N", help="images without labels")
    add("--num-train", type=int, default=100, metavar="N", help="labelled images to train on")
    add("--num-val", type=int, default=300, metavar="N", help="labelled images to test on")
    add("--size", type=image_size, default="128", help="side or WIDTHxHEIGHT in pixels")
    add("--classes", type=int, default=8, metavar="K", help=f"number of classes, 1-{MAX_CLASSES}")
    add("--max-objects", type=int, default=5, metavar="M", help="most objects in one scene")
    add("--seed", type=int, default=0, help="another seed gives other scenes")
    add("--processes", type=int, help="by default one per core; the scenes do not depend on it")
    return parser.parse_args(arguments)


@plain_errors
def main(arguments=None):
    """Write the scenes and say whether there was anything to do."""
    args = parse_args(arguments)
    counts = args.num_unlabeled, args.num_train, args.num_val
    spec = SceneSpec(args.size, args.classes, args.max_objects, args.seed)
    drawn = write_scenes(args.output, spec, *counts, processes=args.processes)
    state = "wrote" if drawn else "found, nothing to do:"
    print(f"{state} {sum(counts)} scenes in {args.output}")


if __name__ == "__main__":
    sys.exit(main())
