"""The metrics that an evaluation gives, as far as they are known before it."""

from detectron2.data import MetadataCatalog

from ..data.finetune.image_mapper import classifies_images
from ..data.finetune.region_mapper import classifies_regions
from .image_accuracy import METRICS as IMAGE_METRICS
from .image_accuracy import task_names
from .roi_accuracy import METRICS

_OF_TASKS = {
    "bbox": ("AP", "AP50", "AP75", "APs", "APm", "APl"),
    "segm": ("AP", "AP50", "AP75", "APs", "APm", "APl"),
    "keypoints": ("AP", "AP50", "AP75", "APm", "APl"),
}
_OF_KINDS = {
    "pascal_voc": {"bbox": ("AP", "AP50", "AP75")},
    "cityscapes_instance": {"segm": ("AP", "AP50")},
    "sem_seg": {"sem_seg": ("mIoU", "fwIoU", "mACC", "pACC")},
}
_OF_ROIS = {"roi": METRICS}


def check_best_metric(cfg):
    """Raise before training if TEST.BEST_METRIC or TEST.PATIENCE cannot work.

    Args:
        cfg: config of fine-tuning, its data sets registered and its epochs resolved.
    """
    test = cfg.TEST
    if test.PATIENCE < 0:
        raise ValueError(f"TEST.PATIENCE is {test.PATIENCE}; it must not be negative.")
    if not test.BEST_METRIC:
        if test.PATIENCE:
            raise ValueError(
                f"TEST.PATIENCE is {test.PATIENCE}, but no metric is watched: set "
                'TEST.BEST_METRIC, such as "bbox/AP".'
            )
        return
    if not cfg.DATASETS.TEST:
        raise ValueError(
            f"TEST.BEST_METRIC is {test.BEST_METRIC!r}, but nothing is evaluated: name a labelled "
            "data set in DATASETS.TEST."
        )
    if test.EVAL_PERIOD <= 0:
        raise ValueError(
            f"TEST.BEST_METRIC is {test.BEST_METRIC!r}, but TEST.EVAL_PERIOD is "
            f"{test.EVAL_PERIOD} and TEST.EVAL_EPOCHS is {test.EVAL_EPOCHS}: there is only the "
            "evaluation at the end. Set one of them above 0, or TEST.BEST_METRIC to '' and "
            "TEST.PATIENCE to 0."
        )
    known = known_metrics(cfg)
    tasks = {x.rpartition("/")[0] for x in known}
    # the classes are known later, and may have any name
    of_classes = tuple(f"{task}/{x}-" for task in tasks for x in ("AP", "IoU", "ACC", "acc"))
    if test.BEST_METRIC not in known and not (
        test.BEST_METRIC.startswith(of_classes) and test.BEST_METRIC not in of_classes
    ):
        raise ValueError(
            f"TEST.BEST_METRIC is {test.BEST_METRIC!r}, which the evaluation does not give. It "
            f"gives {', '.join(known)}."
        )


def known_metrics(cfg):
    """Return the names of the metrics of all classes, as they are in metrics.json."""
    names = []
    for data_set in cfg.DATASETS.TEST:
        prefix = f"{data_set}/" if len(cfg.DATASETS.TEST) > 1 else ""
        kind = MetadataCatalog.get(data_set).get("evaluator_type")
        tasks = _OF_KINDS.get(kind) or _tasks(cfg)
        if classifies_images(cfg):
            tasks = dict.fromkeys(task_names(cfg), IMAGE_METRICS)
        elif classifies_regions(cfg):
            tasks = _OF_ROIS
        for task, metrics in tasks.items():
            names += [f"{prefix}{task}/{x}" for x in metrics]
    return names


def _tasks(cfg):
    tasks = ["bbox"]
    tasks += ["segm"] if cfg.MODEL.MASK_ON else []
    tasks += ["keypoints"] if cfg.MODEL.KEYPOINT_ON else []
    return {x: _OF_TASKS[x] for x in tasks}
