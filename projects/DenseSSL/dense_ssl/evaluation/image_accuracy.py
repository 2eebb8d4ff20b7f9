"""Accuracy of the classification of whole images."""

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from ..modeling.detectors.image_classifier import classifier_parts

METRICS = ("top1_accuracy", "top5_accuracy", "class_accuracy")


def task_names(cfg):
    """Return the names of the results: "image", or "image_<map>" of each of several maps."""
    node = cfg.MODEL.IMAGE_CLASSIFIER
    keys = classifier_parts(node.IN_FEATURES, node.GRIDS)
    return [_task(x, len(keys)) for x in keys]


def _task(key, count):
    return "image" if count == 1 else f"image_{key}"


class ImageAccuracyEvaluator(DatasetEvaluator):
    """Counts the images whose class is the best one, or among the five best."""

    def __init__(self, dataset_name):
        """
        Args:
            dataset_name: with the names of its classes in its metadata.
        """
        self._num_classes = len(MetadataCatalog.get(dataset_name).image_classes)
        self.reset()

    def reset(self):
        self._counts = {}  # {classifier: (best, among the five best, all), by class}

    def process(self, inputs, outputs):
        for item, output in zip(inputs, outputs):
            truth = item["category_id"]
            for key, best in output.items():
                zeros = np.zeros((3, self._num_classes), np.int64)
                best = best.tolist()
                found = (best[0] == truth, truth in best, True)
                self._counts.setdefault(key, zeros)[:, truth] += found

    def evaluate(self):
        """Return {"image": {...}} in percent in the main process, else None.

        ``top1_accuracy`` and ``top5_accuracy``: of all images. ``class_accuracy``: top-1, the mean
        over the classes that have an image. Several classifiers: "image_<map>" of each.
        """
        parts = comm.gather(self._counts)
        if not comm.is_main_process():
            return None
        keys = list(dict.fromkeys(key for part in parts for key in part))
        if not keys:
            raise ValueError("DATASETS.TEST has no image to classify.")
        results = {}
        for key in keys:
            best, five, total = sum(part[key] for part in parts if key in part)
            means = (best.sum() / total.sum(), five.sum() / total.sum(),
                     (best[total > 0] / total[total > 0]).mean())  # fmt: skip
            results[_task(key, len(keys))] = {
                name: 100 * float(x) for name, x in zip(METRICS, means)
            }
        return results
