"""Inputs for the classification of whole images: square crops with a class."""

import numpy as np
import torch
from detectron2.modeling import META_ARCH_REGISTRY
from PIL import Image

from ...utils.checks import require_one_of
from ...utils.errors import prefix_errors
from ..views.crops import draw_crop
from .images import data_key, load_image

_FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}
_RATIO = (3 / 4, 4 / 3)  # width / height of a random crop, as in all protocols


def classifies_images(cfg):
    """Return True if the META_ARCHITECTURE of the config classifies whole images."""
    kind = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    return getattr(kind, "classifies_images", False)


class ImageMapper:
    """Maps dicts with ``category_id`` to {"image": uint8 (3, S, S), "category_id"}.

    Training: a random resized crop of INPUT.CLASSIFY.CROP_AREA of the image, flipped as
    INPUT.RANDOM_FLIP says. Test: the shorter side is resized to INPUT.MIN_SIZE_TEST pixels, and the
    centre is cropped. S is INPUT.MIN_SIZE_TRAIN.
    """

    def __init__(self, cfg, is_train):
        node = cfg.INPUT
        require_one_of("INPUT.CLASSIFY.INTERPOLATION", node.CLASSIFY.INTERPOLATION, tuple(_FILTERS))
        if len(node.MIN_SIZE_TRAIN) != 1 or node.MIN_SIZE_TEST < node.MIN_SIZE_TRAIN[0]:
            raise ValueError(
                f"INPUT.MIN_SIZE_TRAIN is {tuple(node.MIN_SIZE_TRAIN)} and MIN_SIZE_TEST "
                f"{node.MIN_SIZE_TEST}: give the one side of all crops, such as (224,), and the "
                "shorter side that test images are resized to before it, such as 256."
            )
        (self.side,), self.shorter = node.MIN_SIZE_TRAIN, node.MIN_SIZE_TEST
        self.area, self.interpolation = tuple(node.CLASSIFY.CROP_AREA), node.CLASSIFY.INTERPOLATION
        self.is_train, self.image_format = is_train, node.FORMAT
        self.flips = {"horizontal": (1,), "vertical": (0,)}.get(node.RANDOM_FLIP, ())

    def __call__(self, item):
        with prefix_errors(data_key(self.is_train)):
            image = load_image(dict(item), "RGB")
        if self.is_train:
            # SeededDataset seeds numpy's global generator for each image
            rng = np.random.default_rng(np.random.randint(2**31))
            crop = draw_crop(rng, image.shape[1], image.shape[0], self.area, _RATIO)
            pixels = resized_crop(image, crop, self.side, self.interpolation)
            if self.flips and rng.random() < 0.5:
                pixels = np.flip(pixels, self.flips)
        else:
            pixels = centre_crop(image, self.shorter, self.side, self.interpolation)
        pixels = pixels[:, :, ::-1] if self.image_format == "BGR" else pixels
        pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        return {**item, "image": torch.from_numpy(pixels)}


def centre_crop(image, shorter, side, interpolation="bilinear"):
    """Return the centre of an image, as if its shorter side were resized before the crop.

    Args:
        image: uint8 (H, W, 3).
        shorter: pixels that the shorter side is resized to.
        side: of the crop, at most ``shorter``.
        interpolation: "bilinear" or "bicubic".

    Returns:
        uint8 (side, side, 3).
    """
    height, width = image.shape[:2]
    crop = min(height, width) * side / shorter
    return resized_crop(image, ((width - crop) / 2, (height - crop) / 2, crop, crop), side,
                        interpolation)  # fmt: skip


def resized_crop(image, crop, side, interpolation):
    """Return a crop (left, top, width, height) of an image as uint8 (side, side, 3)."""
    left, top, width, height = crop
    box = (left, top, left + width, top + height)
    resized = Image.fromarray(image).resize((side, side), _FILTERS[interpolation], box=box)
    return np.asarray(resized)
