"""Accuracy of the classification of ground-truth boxes."""

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

METRICS = ("top1_accuracy", "class_accuracy")


class RoIAccuracyEvaluator(DatasetEvaluator):
    """Counts the boxes whose class is found."""

    def __init__(self, dataset_name):
        """
        Args:
            dataset_name: with the names of its classes in its metadata.
        """
        self._names = MetadataCatalog.get(dataset_name).thing_classes
        self.reset()

    def reset(self):
        self._counts = np.zeros((2, len(self._names)), np.int64)  # found and all boxes, by class

    def process(self, inputs, outputs):
        for item, output in zip(inputs, outputs):
            truth = item["instances"].gt_classes.cpu().numpy()
            found = truth[output["classes"].cpu().numpy() == truth]
            for row, classes in zip(self._counts, (found, truth)):
                row += np.bincount(classes, minlength=len(self._names))

    def evaluate(self):
        """Return {"roi": {...}} in percent in the main process, else None.

        ``top1_accuracy``: of all boxes (SCRL, Table 10). ``class_accuracy``: the mean over the
        classes that have a box. ``acc-<class>``: of each of these.
        """
        counts = comm.gather(self._counts)
        if not comm.is_main_process():
            return None
        found, total = sum(counts)
        classes = {f"acc-{n}": 100 * f / t for n, f, t in zip(self._names, found, total) if t}
        if not classes:
            raise ValueError("DATASETS.TEST has no box to classify.")
        top1 = 100 * found.sum() / total.sum()
        means = dict(zip(METRICS, (top1, np.mean(list(classes.values())))))
        return {"roi": {k: float(x) for k, x in {**means, **classes}.items()}}
