"""The final scores of a fine-tuning run, read from its output folder."""

import json
import math
from pathlib import Path

from ..utils.metrics_file import read_records

# What detectron2's COCO evaluator reports first for each task.
COCO_METRICS = ("AP", "AP50", "AP75")


def final_evaluation(folder, last_iteration=None, tasks=("bbox",), test_sets=("",)):
    """Return the metrics of the evaluation after the last iteration.

    A detector that finds nothing at all scores 0; detectron2 writes NaN for its boxes then, and
    nothing for masks and keypoints.

    Args:
        folder: OUTPUT_DIR of the run.
        last_iteration: SOLVER.MAX_ITER; None if the run is known to have ended.
        tasks: what a COCO evaluator scores: "bbox", "segm", "keypoints".
        test_sets: DATASETS.TEST.

    Returns:
        ({"bbox/AP": value}, names that are 0 because nothing was found); values may be NaN. With
        several test sets, the names begin with that of the set, as detectron2 writes them. None
        without such an evaluation.
    """
    path = Path(folder) / "metrics.json"
    records = list(read_records(path)) if path.is_file() else []
    if last_iteration is None:
        last_iteration = max((x["iteration"] for x in records), default=0)
    # training metrics with a "/", such as roi_head/num_fg_samples, are from earlier iterations
    final = [x for x in records if x["iteration"] >= last_iteration]
    metrics = {k: v for record in final for k, v in record.items() if "/" in k}
    if not metrics:
        return None
    zeros = []
    for number, name in enumerate(test_sets):
        prefix, subfolder = (f"{name}/", f"{number}_*/") if len(test_sets) > 1 else ("", "")
        if math.isnan(metrics.get(f"{prefix}bbox/AP", 0.0)):
            # NaN may also mean that there was nothing to find
            saved = Path(folder).glob(f"inference/{subfolder}coco_instances_results.json")
            if any(json.loads(x.read_text(encoding="utf-8")) == [] for x in saved):
                zeros += [f"{prefix}{task}/{x}" for task in tasks for x in COCO_METRICS]
    metrics.update(dict.fromkeys(zeros, 0.0))
    return metrics, zeros
