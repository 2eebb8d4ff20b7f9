"""The images that analyses look at: drawn by seed, read when they are needed, with their labels."""

import logging
from dataclasses import dataclass

import numpy as np
from detectron2.data import MetadataCatalog

from ..data.finetune.region_mapper import boxes_of, counted
from ..data.image_io import BrokenImageError, read_image
from ..data.sources.entries import resolve_dataset
from ..data.sources.voc_difficult import marked_dicts
from ..utils.progress import progress

logger = logging.getLogger(__name__)


@dataclass
class Sample:
    """One image.

    Attributes:
        item: detectron2's dict.
        image: uint8 (H, W, 3) in RGB.
        rng: numpy Generator for whatever is drawn for this image; it starts anew for each backbone.
    """

    item: dict
    image: np.ndarray
    rng: np.random.Generator

    @property
    def boxes(self):
        """(K, 4) float64, ground truth (x1, y1, x2, y2) in image pixels; no crowds."""
        return np.array(boxes_of(self.item), np.float64).reshape(-1, 4)

    @property
    def classes(self):
        """(K,) class number of each box."""
        return np.array([x["category_id"] for x in counted(self.item)], np.int64)


class Samples:
    """Images of a data set; iterating yields a :class:`Sample` for each that can be read.

    Attributes:
        entry: as in DATASETS.
        items: detectron2's dicts of the images, in the order of the data set.
        available: how many images the data set has with what is needed.
        broken: names of files that could not be read.
        metadata: detectron2's metadata of the data set.
    """

    def __init__(self, entry, count, seed=0, needs="images", option="--data"):
        """
        Args:
            entry: of DATASETS, such as ``voc:VOC2012:test`` or ``folder:PHOTOS``.
            count: images that are drawn; all, if there are fewer.
            seed: of the draw, and of whatever is drawn for each image.
            needs: "images", "boxes", "masks", "class" (one for each image) or "labels" (a class, or
                objects whose classes the image has).
            option: that names the data, for errors.
        """
        self.entry, self.seed = resolve_dataset(entry, option), seed
        items = [x for x in marked_dicts(self.entry) if _HAS[needs](x)]
        if not items:
            raise ValueError(
                f"{option}: {entry!r} has no image with {needs}.{_HINTS.get(needs, '')}"
            )
        self.available = len(items)
        chosen = np.random.default_rng(seed).permutation(len(items))[:count]
        self.items = [items[i] for i in sorted(chosen)]
        self.broken = []
        self.metadata = MetadataCatalog.get(self.entry)

    def __len__(self):
        return len(self.items)

    def __iter__(self):
        return iter(progress(self.read(), "Analysing images", len(self)))

    def read(self):
        """Yield the samples without showing progress."""
        self.broken = []
        for i, item in enumerate(self.items):
            try:
                image = read_image(item["file_name"])
            except BrokenImageError as error:
                self.broken.append(item["file_name"])
                logger.warning("skipped: %s", error)
            else:
                yield Sample(item, image, np.random.default_rng((self.seed, i)))

    def record(self):
        """Return what the json says of the data."""
        return {"entry": self.entry, "images": len(self.items) - len(self.broken),
                "available": self.available, "broken": self.broken}  # fmt: skip


def _has_boxes(item):
    return bool("annotations" in item and counted(item))


def _has_masks(item):
    if "sem_seg_file_name" in item:
        return True
    return _has_boxes(item) and any("segmentation" in x for x in counted(item))


_HAS = {
    "images": lambda item: True,
    "boxes": _has_boxes,
    "masks": _has_masks,
    "class": lambda item: "category_id" in item,
    "labels": lambda item: "category_id" in item or "annotations" in item,
}
_HINTS = {
    "class": " Name a folder that has one folder of images for each class: 'classes:FOLDER'.",
    "labels": " Name 'voc:ROOT:SPLIT', 'coco:JSON:IMAGES' or 'classes:FOLDER'.",
}
