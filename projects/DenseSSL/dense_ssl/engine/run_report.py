"""What a run leaves for a reader: run.json at its start, report.html at its end."""

import logging
import time

from detectron2.engine import HookBase
from detectron2.utils import comm

from ..data.finetune.loader import count_training_objects
from ..reports.run_record import record_start
from .console import describe_device
from .data_check import check_data

logger = logging.getLogger(__name__)


class RunReport(HookBase):
    """Writes both files; comes after the writers, and only in the main process.

    A failure is a warning: neither file is a reason to lose a run.
    """

    def __init__(self, cfg, num_images, is_pretraining):
        """
        Args:
            cfg: config; the training data of a detector are loaded.
            num_images: images of an epoch.
            is_pretraining: the labels of the data are not used.
        """
        self.folder, self.device = cfg.OUTPUT_DIR, cfg.MODEL.DEVICE
        self.data = {
            "train": list(cfg.DATASETS.TRAIN),
            "test": list(cfg.DATASETS.TEST),
            "images": num_images,
            "objects": {} if is_pretraining else count_training_objects(cfg),
            "checks": [x.as_dict() for x in check_data(cfg, is_pretraining)],
        }

    def before_train(self):
        self._try("run.json", record_start, self.folder, self.trainer.start_iter,
                  describe_device(self.device), comm.get_world_size(), self.data)  # fmt: skip

    def after_train(self):
        begin = time.perf_counter()
        path = self._try("report.html", self._write)
        if path:
            logger.info("Report: %s (%.1f s)", path, time.perf_counter() - begin)

    def _write(self):
        from ..reports.html import write_report  # needs packages that not every installation has

        return write_report([self.folder])

    def _try(self, name, function, *arguments):
        try:
            return function(*arguments)
        except Exception as error:
            logger.warning(
                "No %s, which changes nothing of the run: %s", name, error or repr(error)
            )
            return None
