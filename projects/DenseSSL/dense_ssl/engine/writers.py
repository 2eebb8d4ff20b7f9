"""What the program prints, and the pictures it saves."""

import datetime
import logging
import os
import time

import cv2
import numpy as np
from detectron2.utils.events import EventWriter, get_event_storage

logger = logging.getLogger(__name__)


class PretrainPrinter(EventWriter):
    """One line per report: losses, learning rate, momentum and the objectives' statistics."""

    def __init__(self, max_iter, batch_size, num_images):
        """
        Args:
            max_iter: iterations of the run.
            batch_size: images per iteration, over all processes.
            num_images: images of an epoch.
        """
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.num_images = num_images
        self._last = None

    def write(self):
        storage = get_event_storage()
        iteration = storage.iter
        # the report after the end repeats the last one; a run may end before its first step
        if iteration == self.max_iter or "data_time" not in storage.histories():
            return
        done = iteration + 1
        now = time.perf_counter()
        speed, eta = "", "eta n/a"
        if self._last is not None and done > self._last[0]:
            seconds = (now - self._last[1]) / (done - self._last[0])
            speed = f"  {self.batch_size / seconds:.1f} img/s"
            eta = f"eta {datetime.timedelta(seconds=int(seconds * (self.max_iter - done)))}"
        self._last = (done, now)
        losses = [
            f"{k}: {v.median(20):.4g}"
            for k, v in storage.histories().items()
            if "loss" in k and "/" not in k
        ]
        others = [
            f"{k}: {v.latest():.4g}"
            for k, v in sorted(storage.histories().items())
            if k in ("lr", "momentum", "grad_scale", "backbone/angle")
            or ("/" in k and not k.startswith("backbone/"))  # those of each stage are in the files
        ]
        logger.info(
            f"{eta}  iter: {done}/{self.max_iter}  "
            f"epoch: {done * self.batch_size / self.num_images:.2f}  "
            + "  ".join(losses + others)
            + f"{speed}  data_time: {storage.history('data_time').avg(20):.4f}"
        )


class PictureWriter(EventWriter):
    """Saves the pictures of the event storage as PNG files, beside those of TensorBoard.

    Must come before TensorboardXWriter, which empties the storage.
    """

    def __init__(self, folder):
        """
        Args:
            folder: output folder, made when the first picture comes.
        """
        self.folder = folder

    def write(self):
        for name, image, step in get_event_storage()._vis_data:
            os.makedirs(self.folder, exist_ok=True)
            pixels = np.asarray(image)
            if pixels.dtype != np.uint8:
                pixels = (pixels.clip(0, 1) * 255).astype(np.uint8)
            pixels = np.ascontiguousarray(
                pixels.transpose(1, 2, 0)[:, :, ::-1]
            )  # CHW RGB -> HWC BGR
            path = os.path.join(self.folder, f"{name.replace('/', '_')}_{step + 1:07d}.png")
            cv2.imwrite(path, pixels)
