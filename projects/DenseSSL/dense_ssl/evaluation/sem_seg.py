"""Mean intersection over union on label maps."""

import inspect

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import SemSegEvaluator

from ..data.sources.label_maps import IGNORED, LabelReader


def build_sem_seg_evaluator(dataset_name, output_folder):
    """Build detectron2's SemSegEvaluator with a reader that knows the values of the data set.

    detectron2's own reader fails with numpy 2, and takes values in files for class numbers.
    """
    ignored = MetadataCatalog.get(dataset_name).get("ignore_label", IGNORED)
    reader = LabelReader(dataset_name, ignored)
    if "sem_seg_loading_fn" in inspect.signature(SemSegEvaluator.__init__).parameters:
        return SemSegEvaluator(dataset_name, output_dir=output_folder, sem_seg_loading_fn=reader)
    return OldSemSegEvaluator(dataset_name, output_folder, reader)


class OldSemSegEvaluator(SemSegEvaluator):
    """The evaluator of detectron2 v0.6, which takes no other reader."""

    def __init__(self, dataset_name, output_folder, reader):
        """
        Args:
            dataset_name, output_folder: see SemSegEvaluator.
            reader: :class:`~dense_ssl.data.sources.label_maps.LabelReader`.
        """
        super().__init__(dataset_name, output_dir=output_folder)
        self._reader = reader

    def process(self, inputs, outputs):
        for item, output in zip(inputs, outputs):
            predicted = output["sem_seg"].argmax(dim=0).cpu().numpy()
            path = self.input_file_to_gt_file[item["file_name"]]
            truth = self._reader(path, dtype=np.int64)
            truth[truth == self._ignore_label] = self._num_classes
            pairs = (self._num_classes + 1) * predicted.ravel() + truth.ravel()
            counts = np.bincount(pairs, minlength=self._conf_matrix.size)
            self._conf_matrix += counts.reshape(self._conf_matrix.shape)
            self._predictions += self.encode_json_sem_seg(predicted, item["file_name"])
