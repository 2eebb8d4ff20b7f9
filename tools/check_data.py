#!/usr/bin/env python3
"""Check data sets: which images can be read, what the labels hold, what is odd, what is wrong.

    python tools/check_data.py folder:photos
    python tools/check_data.py coco:train.json:photos coco:val.json:photos --json check.json
    python tools/check_data.py voc:VOC2012:train --decode

ENTRY is what DATASETS.TRAIN may hold, shares such as coco:a.json:photos_10pct_seed0 and registered
names too. Labels are read as a whole, and of each image the header; --decode reads all pixels,
which finds damage in the middle of a file. The exit status is 1 if something would stop a training.
See docs/small_data.md.
"""

import argparse
import json
import sys


def main(arguments=None):
    """Print the reports; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("entries", nargs="+", metavar="ENTRY")
    parser.add_argument("--decode", action="store_true", help="read all pixels of every image")
    parser.add_argument("--json", metavar="FILE", help="write the reports to a file, too")
    args = parser.parse_args(arguments)

    from dense_ssl.data.sources.check_text import report
    from dense_ssl.data.sources.entries import check_entry
    from dense_ssl.utils.printable import printable

    checks = [check_entry(x, decode=args.decode) for x in args.entries]
    for check in checks:
        print("\n".join(printable(x) for x in report(check)))
    if args.json:
        try:
            with open(args.json, "w", encoding="utf-8") as file:
                json.dump([x.as_dict() for x in checks], file, indent=1)
        except OSError as error:
            print(f"error: --json: {error}", file=sys.stderr)
            return 2
    return int(any(x.errors for x in checks))


if __name__ == "__main__":
    sys.exit(main())
