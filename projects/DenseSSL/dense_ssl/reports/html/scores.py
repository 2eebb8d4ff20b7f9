"""The scores of evaluations, among the metrics of a run."""

import re

from ...utils.metrics_file import read_records
from ..run_results import final_evaluation

_TASKS = {
    "bbox": "boxes", "segm": "masks", "keypoints": "keypoints", "sem_seg": "semantic segmentation",
    "panoptic_seg": "panoptic segmentation", "box_proposals": "proposals",
    "roi": "classes of given boxes", "image": "classes of images",
}  # fmt: skip
# After the task: a score of all classes, or that of one. Training metrics, such as
# sem_seg/accuracy, are neither.
_SCORE = re.compile(
    rf"(?:(?P<set>.+)/)?(?P<task>{'|'.join(_TASKS)})(?:_(?P<map>(?<=image_)[^/]+))?/"
    r"(?:(?P<kind>AP|IoU|acc)-(?P<class>.+)|(?P<score>A[PR]\w*|\w*IoU|[mp]ACC|[PSR]Q(?:_th|_st)?"
    r"|top[15]_accuracy|class_accuracy)"
    r"|(?P<other>.+-.+))",
    re.DOTALL,
)
HEADLINES = ("AP", "mIoU", "PQ", "top1_accuracy")


def parse(name):
    """Return the parts of a score's name: "set", "task", and "score", or "kind" and "class".

    None for other metrics. With several data sets, the name of the set comes first; classifiers of
    images on several feature maps have a "map".
    """
    found = _SCORE.fullmatch(name)
    return found.groupdict() if found else None


def title(part):
    """Return the task of a score in words, with the map and the data set if there are several."""
    places = ", ".join(filter(None, (part["map"], part["set"])))
    return _TASKS[part["task"]] + (f" ({places})" if places else "")


def is_headline(name):
    """Return True if a metric sums a whole evaluation up, such as bbox/AP."""
    part = parse(name)
    return bool(part) and part["score"] in HEADLINES


def last_scores(folder, config, is_done):
    """Return {name: value} of the last evaluation of a run, {} without one.

    Args:
        folder: OUTPUT_DIR. config: {key: value}.
        is_done: the run has ended.
    """
    if is_done:
        tasks = ["bbox", *["segm"] * bool(config.get("MODEL.MASK_ON"))]
        tasks += ["keypoints"] * bool(config.get("MODEL.KEYPOINT_ON"))
        found = final_evaluation(folder, tasks=tasks, test_sets=config.get("DATASETS.TEST") or ())
        scores = {k: v for k, v in (found[0] if found else {}).items() if parse(k)}
        if scores:
            return scores
    last = {}
    for record in read_records(folder / "metrics.json"):
        scores = {k: v for k, v in record.items() if parse(k)}
        last = scores or last
    return last
