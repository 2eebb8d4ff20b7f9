"""Training and test inputs for semantic segmentation."""

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data import detection_utils, get_detection_dataset_dicts
from detectron2.data import transforms as T
from detectron2.modeling import META_ARCH_REGISTRY, SemanticSegmentor

from ...utils.errors import prefix_errors
from ..sources.label_maps import IGNORED, LabelReader, check_label_size
from .images import data_key, keep_thin_images, load_image


def is_semantic(cfg):
    """Return True if the META_ARCHITECTURE of the config is one of semantic segmentation."""
    return issubclass(META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE), SemanticSegmentor)


def semantic_dataset_dicts(names):
    """Return the dicts of data sets, each with ``source``, the data set that it is from."""
    return [
        {**item, "source": name}
        for name in names
        for item in get_detection_dataset_dicts([name], filter_empty=False)
    ]


class RandomScale(T.Augmentation):
    """Resizes an image by a factor drawn uniformly, its aspect ratio kept."""

    def __init__(self, low, high):
        """
        Args:
            low, high: range of the factor; 1 keeps the image's own size.
        """
        super().__init__()
        self._init(locals())

    def get_transform(self, image):
        height, width = image.shape[:2]
        factor = np.random.uniform(self.low, self.high)
        new = [max(int(side * factor + 0.5), 1) for side in (height, width)]
        return T.ResizeTransform(height, width, *new)


class SemanticMapper:
    """Maps detectron2's dicts to inputs of a semantic segmentor.

    Image and labels are resized, cropped, flipped and padded together. Unlike detectron2's
    DatasetMapper it reads the indices of palette images (not their brightness), makes the classes
    of every data set contiguous, crops after resizing, and pads crops of a fixed size.
    """

    @configurable
    def __init__(self, is_train, *, augmentations, image_format, readers, ignore_value, pad=None):
        """
        Args:
            is_train: give labels, or leave them to the evaluator.
            augmentations: list of detectron2's.
            image_format: INPUT.FORMAT.
            readers: {data set: LabelReader}; in training only.
            ignore_value: the label of pixels that take no part in the loss.
            pad: (height, width, colour): smaller images are padded to it, on the right and below.
        """
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.readers = readers
        self.ignore_value = ignore_value
        self.pad = pad

    @classmethod
    def from_config(cls, cfg, is_train=True):
        crop, pad = cfg.INPUT.CROP, None
        if is_train and crop.ENABLED and crop.TYPE == "absolute":
            pad = (*crop.SIZE, np.round(cfg.MODEL.PIXEL_MEAN).astype(np.uint8))
        return {
            "is_train": is_train,
            "augmentations": build_augmentations(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
            "readers": {x: LabelReader(x) for x in cfg.DATASETS.TRAIN} if is_train else {},
            "ignore_value": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
            "pad": pad,
        }

    def __call__(self, item):
        with prefix_errors(data_key(self.is_train)):
            return self._map(dict(item))

    def _map(self, item):
        path = item.pop("sem_seg_file_name", None)
        image = load_image(item, self.image_format)
        labels = self._read_labels(path, item, image.shape[:2])
        aug_input = T.AugInput(image, sem_seg=labels)
        self.augmentations(aug_input)
        image, labels = aug_input.image, aug_input.sem_seg
        if self.is_train:
            image, labels = self._padded(image, labels)
            item["sem_seg"] = torch.from_numpy(labels.astype(np.int64))
            item["sem_seg"][item["sem_seg"] == IGNORED] = self.ignore_value
        # (H, W, C) -> (C, H, W)
        item["image"] = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return item

    def _read_labels(self, path, item, size):
        """Return (H, W), or None at test time, when only the size of a label map is checked."""
        if self.is_train and path is None:
            raise ValueError(f"{item['file_name']!r} has no label map.")
        labels = self.readers[item["source"]](path) if self.is_train else None
        if path and (labels is None or labels.shape != size):
            check_label_size(path, item["file_name"], *size)
        return labels

    def _padded(self, image, labels):
        """Pad to ``self.pad``, if it is set, with its colour and without a label."""
        if self.pad is None:
            return image, labels
        height, width, colour = self.pad
        canvas = np.empty((height, width, image.shape[2]), image.dtype)
        canvas[:] = colour
        canvas[: image.shape[0], : image.shape[1]] = image
        label_canvas = np.full((height, width), IGNORED, np.uint8)
        label_canvas[: labels.shape[0], : labels.shape[1]] = labels
        return canvas, label_canvas


def build_augmentations(cfg, is_train):
    """Build detectron2's augmentations: a resize; in training also crop, colours and flip."""
    resize, *flip = keep_thin_images(detection_utils.build_augmentation(cfg, is_train))
    if not is_train:
        return [resize]
    if cfg.INPUT.SCALE_RANGE:
        resize = RandomScale(*cfg.INPUT.SCALE_RANGE)
    result = [resize]
    crop = cfg.INPUT.CROP
    if crop.ENABLED:
        result.append(
            T.RandomCrop_CategoryAreaConstraint(
                crop.TYPE, crop.SIZE, crop.SINGLE_CATEGORY_MAX_AREA, IGNORED
            )
        )
    if cfg.INPUT.COLOR_AUG_SSD:
        from detectron2.projects.point_rend import ColorAugSSDTransform

        result.append(ColorAugSSDTransform(img_format=cfg.INPUT.FORMAT))
    return [*result, *flip]
