"""A replacement of train_net.py with the same arguments that does not train.

The text in the weights file selects what happens: a number is the AP to report (plus a tenth per
seed), "crash" fails, "nothing" reports no detections, "stuck" waits until a file "held" is gone.
"stopped" ends as a signal lets it end, the first time.
"rate" reports an AP that is best at a learning rate of 0.02.
A yaml of pre-training begins with a comment: "# write TEXT" writes a backbone with that text and
the seed, "# crash" fails.
"""

import json
import os
import sys
import time
from pathlib import Path

arguments = sys.argv[1:]
assert arguments[0] == "--config-file" and "--resume" in arguments
assert not [x for x in os.environ if x.startswith(("LOCAL_RANK", "MASTER_ADDR", "SLURM_"))]
options = arguments[arguments.index("--resume") + 1 :]
assert options[:2] == ["--dist-url", "auto"]
options = dict(zip(options[::2], options[1::2]))
folder, seed = Path(options["OUTPUT_DIR"]), int(options["SEED"])

folder.mkdir(parents=True, exist_ok=True)
with open(folder / "starts.txt", "a") as file:
    file.write(" ".join(sys.argv) + "\n")
if "MODEL.WEIGHTS" not in options:
    word, _, text = Path(arguments[1]).read_text().partition("\n")[0].strip("# ").partition(" ")
    if word == "crash":
        raise SystemExit("FloatingPointError: the loss is not finite")
    (folder / "backbone.pkl").write_text(f"{text} {seed}")
    (folder / "last_checkpoint").write_text("model_final.pth")
    (folder / "model_final.pth").touch()
    raise SystemExit
last = int(options["SOLVER.MAX_ITER"])
weights = options["MODEL.WEIGHTS"]
text = Path(weights).read_text().split()[0] if weights else "10"
if text == "rate":
    text = str(20 - 100 * abs(float(options.get("SOLVER.BASE_LR", "0.05")) - 0.02))
(folder / "last_checkpoint").write_text("model_0000001.pth")
print(f"iter 1/{last}  loss 2.5  lr 0.01  eta 0:00:01")
if text == "crash":
    raise SystemExit("RuntimeError: the network has exploded")
if text == "stopped" and len((folder / "starts.txt").read_text().splitlines()) == 1:
    raise SystemExit(75)
while text == "stuck" and Path(weights).with_name("held").exists():
    time.sleep(0.02)
records = [{"iteration": 1, "total_loss": 2.5, "roi_head/num_fg_samples": 3.0}]
nothing = text in ("nothing", "stuck", "stopped")
score = float("nan") if nothing else float(text) + 0.1 * seed
result = {"iteration": last, "bbox/AP": score, "bbox/AP50": 2 * score, "bbox/APl": float("nan")}
if not nothing:
    result["segm/AP"] = score - 1
(folder / "inference").mkdir(exist_ok=True)
detections = [] if nothing else [{"image_id": 1}]
(folder / "inference" / "coco_instances_results.json").write_text(json.dumps(detections))
with open(folder / "metrics.json", "a") as file:
    file.writelines(json.dumps(x) + "\n" for x in [*records, result])
