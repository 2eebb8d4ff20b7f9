"""A replacement of tools/roi_probe.py; its accuracy is five times the number in the weights,
that of neighbours 100 less."""

import argparse
import json
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--config-file", required=True)
parser.add_argument("--feature", required=True)
parser.add_argument("--side", type=int, required=True)
parser.add_argument("--write", action="store_true", required=True)
parser.add_argument("opts", nargs=argparse.REMAINDER)
args = parser.parse_args()
options = dict(zip(args.opts[::2], args.opts[1::2]))
weights = options["MODEL.WEIGHTS"]
number = float(Path(weights).read_text().split()[0]) if weights else 9
folder = Path(options["OUTPUT_DIR"])
(folder / "probe.txt").write_text(f"{args.feature} {args.side}")
record = {"iteration": int(options["SOLVER.MAX_ITER"]), "probe/class_accuracy": 5 * number,
          "probe/knn": 100 - 5 * number, "probe/majority": 40.0}  # fmt: skip
(folder / "metrics.json").write_text(json.dumps(record) + "\n")
