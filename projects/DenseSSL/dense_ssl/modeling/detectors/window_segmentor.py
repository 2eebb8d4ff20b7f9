"""Semantic segmentation of large images in windows."""

from itertools import product

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, SemanticSegmentor
from detectron2.modeling.postprocessing import sem_seg_postprocess

_SIZE, _STRIDE = "TEST.WINDOW.SIZE", "TEST.WINDOW.STRIDE"


@META_ARCH_REGISTRY.register()
class WindowSegmentor(SemanticSegmentor):
    """detectron2's SemanticSegmentor, whose inference can slide a window over the image.

    The logits of a pixel are the mean over the windows that show it. mmsegmentation's FCNs of
    Cityscapes are tested so, in windows of the size of the training crops.
    """

    @configurable
    def __init__(self, *, window, stride, **parts):
        """
        Args:
            window: (height, width) in pixels of the resized image; (): the whole image at once.
            stride: (down, across) between windows, in pixels.
            parts: see SemanticSegmentor.
        """
        super().__init__(**parts)
        self.window, self.stride = window, stride

    @classmethod
    def from_config(cls, cfg):
        window, stride = tuple(cfg.TEST.WINDOW.SIZE), tuple(cfg.TEST.WINDOW.STRIDE)
        check_window(window, stride)
        return {**super().from_config(cfg), "window": window, "stride": stride}

    def forward(self, batched_inputs):
        if self.training or not self.window:
            return super().forward(batched_inputs)
        return [self._slide(item) for item in batched_inputs]

    def _slide(self, item):
        """Return {"sem_seg": (C, H, W)} of one image; one window is in memory at a time."""
        image = item["image"]
        size = image.shape[-2:]
        total, count = None, torch.zeros(size, device=self.device)
        axes = [window_slices(*x) for x in zip(size, self.window, self.stride)]
        for rows, columns in product(*axes):
            (output,) = super().forward([{"image": image[:, rows, columns]}])
            logits = output["sem_seg"]
            if total is None:
                total = logits.new_zeros(len(logits), *size)
            total[:, rows, columns] += logits
            count[rows, columns] += 1
        total /= count
        height, width = item.get("height", size[0]), item.get("width", size[1])
        return {"sem_seg": sem_seg_postprocess(total, size, height, width)}


def window_slices(length, window, stride):
    """Return the slices of windows along one axis; the last one ends at the border.

    Args:
        length: of the axis; a window that is larger is cut to it.
        window, stride: length of a window, and from one to the next.
    """
    if window >= length:
        return [slice(0, length)]
    starts = [*range(0, length - window, stride), length - window]
    return [slice(x, x + window) for x in starts]


def check_window(window, stride):
    """Raise ValueError unless the windows can cover an image."""
    if not window:
        return
    if len(window) != 2 or min(window) < 1:
        raise ValueError(f"{_SIZE} is {window}: set it to a height and a width, or to ().")
    if len(stride) != 2 or min(stride) < 1 or any(s > w for s, w in zip(stride, window)):
        raise ValueError(
            f"{_STRIDE} is {stride}, but windows ({_SIZE}) of {window} must follow each other "
            "without gaps: set it to two numbers from 1 to the window's height and width."
        )
