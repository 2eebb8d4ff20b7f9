"""What a fine-tuning run scored in the end, read from its output folder."""

import json
import math
from pathlib import Path

from ..utils.metrics_file import read_records

# What detectron2's COCO evaluator means by each task.
COCO_METRICS = ("AP", "AP50", "AP75")


def final_evaluation(folder, last_iteration=None, tasks=("bbox",), test_sets=("",)):
    """The metrics of the evaluation that follows the last iteration.

    A detector that finds nothing at all is worth 0; detectron2 writes NaN for its boxes then, and
    nothing for masks and keypoints.

    Args:
        folder: OUTPUT_DIR of the run.
        last_iteration: SOLVER.MAX_ITER; None: of a run that is known to have ended.
        tasks: what a COCO evaluator scores: "bbox", "segm", "keypoints".
        test_sets: DATASETS.TEST.

    Returns:
        ({"bbox/AP": value}, names that are 0 because nothing was found); values may be NaN. With
        several test sets their names stand before the metrics', as detectron2 writes them. None
        where there is no such evaluation.
    """
    path = Path(folder) / "metrics.json"
    if not path.is_file():
        return None
    records = list(read_records(path))
    if last_iteration is None:
        last_iteration = max((x["iteration"] for x in records), default=0)
    metrics = {}
    for record in records:
        # what training logs, such as roi_head/num_fg_samples, lies before the last iteration
        if record["iteration"] >= last_iteration:
            metrics.update({k: v for k, v in record.items() if "/" in k})
    if not metrics:
        return None
    zeros = []
    for number, prefix in enumerate(_prefixes(test_sets)):
        if math.isnan(metrics.get(f"{prefix}bbox/AP", 0.0)):
            if _found_nothing(Path(folder) / "inference", number if prefix else None):
                zeros += [f"{prefix}{task}/{name}" for task in tasks for name in COCO_METRICS]
    metrics.update(dict.fromkeys(zeros, 0.0))
    return metrics, zeros


def _prefixes(test_sets):
    return [f"{x}/" for x in test_sets] if len(test_sets) > 1 else [""]


def _found_nothing(folder, number):
    """Are the predictions that were saved empty? NaN may also mean that there was nothing to find.

    Args:
        folder: ``inference`` of a run.
        number: of the data set in DATASETS.TEST, None if it is the only one.
    """
    pattern = "coco_instances_results.json"
    if number is not None:
        pattern = f"{number}_*/{pattern}"
    return any(json.loads(x.read_text(encoding="utf-8")) == [] for x in folder.glob(pattern))
