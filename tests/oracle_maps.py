"""Backbones whose features are known, for tests of the analyses."""

import math

import cv2
import numpy as np
import torch
from detectron2.layers import ShapeSpec
from torch.nn import functional as F

from dense_ssl.analysis.samples import Sample


class OracleMaps:
    """Used as FeatureMaps is: a function of the mean colours of the cells of an image.

    With :func:`coordinate_image`, the mean colour of a cell is the place of its centre.
    """

    file = ""

    def __init__(self, features, stride=16, level="res4"):
        """``features``: function of the mean colours (3, h, w) in 0..1, giving (C, h, w)."""
        self.features, self.stride, self.level = features, stride, level
        self.backbone = self

    def output_shape(self):
        return {self.level: ShapeSpec(channels=4, stride=self.stride)}

    def __call__(self, images, size):
        images = images if isinstance(images, (list, tuple)) else [images]
        pixels = [torch.from_numpy(np.array(x)).permute(2, 0, 1).float() / 255 for x in images]
        pixels = [F.interpolate(x[None], size, mode="area") for x in pixels]
        cells = [F.avg_pool2d(x, self.stride)[0] for x in pixels]
        return {self.level: torch.stack([self.features(x) for x in cells])}


def coordinate_image(width, height):
    """An image whose red is the share of the width, and whose green is that of the height."""
    x, y = ((np.arange(n) + 0.5) / n * 255 for n in (width, height))
    image = np.zeros((height, width, 3), np.float64)
    image[..., 0], image[..., 1] = x[None], y[:, None]
    return image.round().astype(np.uint8)


def places(colours, turn=math.pi):
    """Features whose cosine falls with the distance of places: (cos, sin) of ``turn`` x and y."""
    x, y = turn * colours[0], turn * colours[1]
    return torch.stack([x.cos(), x.sin(), y.cos(), y.sin()])


def random_features(channels=32, seed=0):
    """A function that gives other random features at every call."""
    generator = torch.Generator().manual_seed(seed)
    return lambda colours: torch.randn(channels, *colours.shape[1:], generator=generator)


class GivenSamples(list):
    """Samples that need no files: (image, boxes or None) each."""

    metadata, seed = {}, 0

    def __init__(self, pairs):
        from detectron2.structures import BoxMode

        found = []
        for i, (image, boxes) in enumerate(pairs):
            annotations = [{"bbox": list(x), "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
                           for x in boxes or ()]  # fmt: skip
            item = {"file_name": f"{i}.png", "annotations": annotations}
            found.append((item, image, i))
        super().__init__(found)

    def __iter__(self):
        for item, image, i in super().__iter__():
            yield Sample(item, image, np.random.default_rng((0, i)))


def rectangle_image(size, box, inside=(255, 0, 0), outside=(0, 0, 255)):
    """An image (height, width) of one colour with a rectangle (x1, y1, x2, y2) of another."""
    image = np.empty((*size, 3), np.uint8)
    image[:] = outside
    x1, y1, x2, y2 = box
    return cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), inside, -1)
