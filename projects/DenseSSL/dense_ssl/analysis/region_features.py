"""Features of labelled regions by a frozen copy of a backbone."""

import copy

import numpy as np
import torch
from detectron2.layers import ROIAlign
from detectron2.utils import comm

from ..data.image_io import read_image
from ..modeling.architectures.norms import replace_batch_norms
from ..modeling.backbones import extract_features, feature_shapes
from ..modeling.dropout import remove_dropout
from ..modeling.geometry.boxes import pool_box_lists
from ..modeling.norm_statistics import estimate_statistics
from ..utils.progress import progress
from .roi_probe import as_square

# Pixels of a batch: 16 images of 224 pixels, one of 800.
_BATCH_PIXELS = 16 * 224**2
# Images for batch norm statistics.
NORM_IMAGES = 64


class SquareImages:
    """The images of a data set as squares, in batches, kept in memory.

    Every process holds and computes its share of the batches.
    """

    def __init__(self, images, side, input_format):
        """
        Args:
            images: list of :class:`~.labelled_regions.LabelledImage`.
            side: of the squares, in pixels.
            input_format: "RGB" or "BGR".
        """
        size = max(_BATCH_PIXELS // side**2, 1)
        batches = [images[i : i + size] for i in range(0, len(images), size)]
        own = range(comm.get_rank(), len(batches), comm.get_world_size())
        # as many for the statistics as give NORM_IMAGES over all processes
        self.norm_batches = len([i for i in own if i * size < NORM_IMAGES])
        own = progress([batches[i] for i in own], "Reading the images of the probe")
        self.batches = [self._load(x, side, input_format) for x in own]

    @staticmethod
    def _load(images, side, input_format):
        pixels, boxes = [], []
        for item in images:
            image = read_image(item.file_name)
            height, width = image.shape[:2]
            pixels.append(as_square(image, side, input_format))
            boxes.append(torch.from_numpy(item.boxes) * side / torch.tensor([width, height] * 2))
        return torch.stack(pixels), boxes, np.concatenate([x.classes for x in images])


def frozen_copy(backbone):
    """Return a copy that may be used by one process alone, and changed without harm.

    Its batch norms are plain: SyncBN would wait for the other processes. It has no dropout.
    """
    like = next(backbone.parameters())
    network = copy.deepcopy(backbone).requires_grad_(False)
    remove_dropout(network)
    replace_batch_norms(network, "BN")
    return network.to(like.device, like.dtype)


class RegionFeatures:
    """Computes the features of regions; the statistics of batch norms are those of its images."""

    def __init__(self, backbone, levels, mean, std):
        """
        Args:
            backbone: of detectron2; it is copied.
            levels: names of feature maps.
            mean, std: (3, 1, 1) tensors on the device of the backbone.
        """
        self.network = frozen_copy(backbone)
        self.mean, self.std = mean, std
        shapes = feature_shapes(backbone)
        self.poolers = {x: ROIAlign(1, 1.0 / shapes[x].stride, 0, True) for x in levels}

    def estimate_norms(self, images):
        """Estimate the statistics of batch norms; every process must call it.

        Args:
            images: :class:`SquareImages`.
        """
        batches = (self._normalised(x[0]) for x in images.batches)
        estimate_statistics(self.network.train(), batches, images.norm_batches)

    @torch.no_grad()
    def __call__(self, images):
        """Return ({level: float32 (K, C)}, classes (K,)) of the regions of this process."""
        self.network.eval()
        found = {x: [] for x in self.poolers}
        for pixels, boxes, _ in images.batches:
            maps = extract_features(self.network, self._normalised(pixels))
            boxes = [x.to(self.mean) for x in boxes]
            for level, pooler in self.poolers.items():
                pooled = pool_box_lists(pooler, maps[level], boxes)
                found[level].append(pooled.float().cpu().numpy())
        classes = [x[2] for x in images.batches]
        return {k: _joined(x) for k, x in found.items()}, _joined(classes)

    def _normalised(self, pixels):
        return (pixels.to(self.mean) - self.mean) / self.std


def _joined(parts):
    return np.concatenate(parts) if parts else None


def gathered(features, classes):
    """Return the features and classes of all processes in the main process, else (None, None).

    Args:
        features, classes: result of :class:`RegionFeatures` in this process.
    """
    parts = [x for x in comm.gather((features, classes)) if x[1] is not None]
    if not comm.is_main_process():
        return None, None
    levels = {k: np.concatenate([x[0][k] for x in parts]) for k in features}
    return levels, np.concatenate([x[1] for x in parts])
