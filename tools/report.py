#!/usr/bin/env python3
"""Write the report of runs, finished or not, as one HTML file that opens from disk.

    python tools/report.py output/scrl_R_50_coco
    python tools/report.py output/demo
    python tools/report.py output/scrl output/byol --output scrl_and_byol.html

RUN is the OUTPUT_DIR of a run, or a folder that holds runs. See docs/report.md.
"""

import argparse
import sys


def main(arguments=None):
    """Write the report and print its path; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--output", help="default: report.html in the folder that all RUNs share")
    args = parser.parse_args(arguments)

    from dense_ssl.reports.html import write_report

    try:
        path = write_report(args.runs, args.output)
    except (OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
