"""Training and test inputs for semantic segmentation."""

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data import MetadataCatalog, detection_utils, get_detection_dataset_dicts
from detectron2.data import transforms as T
from detectron2.modeling import META_ARCH_REGISTRY, SemanticSegmentor

from ..image_io import BrokenImageError
from ..sources.label_maps import IGNORED, LabelReader, check_label_size


def is_semantic(cfg):
    """Is the META_ARCHITECTURE of the config one of semantic segmentation?"""
    return issubclass(META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE), SemanticSegmentor)


def check_semantic(cfg):
    """Raise where data sets have no label maps, or the ignored label is a class."""
    for part in ("TRAIN", "TEST"):
        for name in cfg.DATASETS[part]:
            if not MetadataCatalog.get(name).get("stuff_classes"):
                raise ValueError(
                    f"DATASETS.{part}: {name!r} has no label maps, which "
                    f"{cfg.MODEL.META_ARCHITECTURE} learns from and is measured by. Name them as "
                    "'semseg:IMAGES:LABELS[:CLASSES.txt]' or 'vocseg:ROOT:SPLIT'."
                )
    node = cfg.MODEL.SEM_SEG_HEAD
    if 0 <= node.IGNORE_VALUE < node.NUM_CLASSES:
        raise ValueError(
            f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE is {node.IGNORE_VALUE}, which is one of the "
            f"{node.NUM_CLASSES} classes. Leave it at {IGNORED}: what a data set ignores, whatever "
            "its value in files, becomes this."
        )


def semantic_dataset_dicts(names):
    """The images of data sets for semantic segmentation.

    Returns:
        list of detectron2's dicts, each with ``source``, the data set that it is from.
    """
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
    def __init__(
        self, is_train, *, augmentations, image_format, readers, key, ignore_value, pad=None
    ):
        """
        Args:
            is_train: give labels, or leave them to the evaluator.
            augmentations: list of detectron2's.
            image_format: INPUT.FORMAT.
            readers: {data set: LabelReader}; in training only.
            key: config key to name in errors.
            ignore_value: the label of pixels that take no part in the loss.
            pad: (height, width, colour): smaller images are padded to it, on the right and below.
        """
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.readers = readers
        self.key = key
        self.ignore_value = ignore_value
        self.pad = pad

    @classmethod
    def from_config(cls, cfg, is_train=True):
        key = "DATASETS.TRAIN" if is_train else "DATASETS.TEST"
        crop = cfg.INPUT.CROP
        result = {
            "is_train": is_train,
            "augmentations": build_augmentations(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
            "readers": {x: LabelReader(x, key) for x in cfg.DATASETS.TRAIN} if is_train else {},
            "key": key,
            "ignore_value": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
        }
        if is_train and crop.ENABLED and crop.TYPE == "absolute":
            result["pad"] = (*crop.SIZE, np.round(cfg.MODEL.PIXEL_MEAN).astype(np.uint8))
        return result

    def __call__(self, item):
        item = dict(item)
        path = item.pop("sem_seg_file_name", None)
        image = self._read_image(item)
        if not self.is_train:
            if path:
                check_label_size(path, item["file_name"], *image.shape[:2], self.key)
            aug_input = T.AugInput(image)
            self.augmentations(aug_input)
            return {**item, "image": _to_tensor(aug_input.image)}
        labels = self._read_labels(item, path, image)
        aug_input = T.AugInput(image, sem_seg=labels)
        self.augmentations(aug_input)
        image, labels = self._padded(aug_input.image, aug_input.sem_seg)
        labels = torch.from_numpy(labels.astype(np.int64))
        labels[labels == IGNORED] = self.ignore_value
        return {**item, "image": _to_tensor(image), "sem_seg": labels}

    def _read_image(self, item):
        """(H, W, C); sets ``height`` and ``width`` of the dict, or raises where they differ."""
        try:
            image = detection_utils.read_image(item["file_name"], format=self.image_format)
        except OSError as error:
            reason = error.strerror or error
            raise BrokenImageError(f"{self.key}: {item['file_name']!r}: {reason}") from error
        detection_utils.check_image_size(item, image)
        return image

    def _read_labels(self, item, path, image):
        if path is None:
            raise ValueError(f"{self.key}: {item['file_name']!r} has no label map.")
        labels = self.readers[item["source"]](path)
        if labels.shape != image.shape[:2]:
            check_label_size(path, item["file_name"], *image.shape[:2], self.key)
        return labels

    def _padded(self, image, labels):
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
    """Resize; in training also crop, colours and flip, as INPUT says.

    Returns:
        list of detectron2's augmentations.
    """
    resize, *flip = detection_utils.build_augmentation(cfg, is_train)
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


def _to_tensor(image):
    """(H, W, C) array -> (C, H, W) tensor."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
