"""Labelled regions of images: ground-truth boxes, or the cells of label maps."""

import os
from dataclasses import dataclass

import numpy as np
from detectron2.data import MetadataCatalog

from ..data.finetune.region_mapper import boxes_of, counted
from ..data.sources.entries import resolve_dataset
from ..data.sources.label_maps import IGNORED, LabelReader
from ..data.sources.voc_difficult import marked_dicts
from ..utils.errors import prefix_errors
from ..utils.progress import progress


@dataclass
class LabelledImage:
    """The regions of one image.

    Attributes:
        file_name: of the image.
        boxes: float32 (K, 4), (x1, y1, x2, y2) in its pixels.
        classes: int64 (K,).
    """

    file_name: str
    boxes: np.ndarray
    classes: np.ndarray


@dataclass
class LabelledRegions:
    """Regions of a data set.

    Attributes:
        images: list of :class:`LabelledImage`, each with a region.
        class_names: names by class.
        kind: "boxes" or "cells".
    """

    images: list
    class_names: list
    kind: str

    @property
    def classes(self):
        """(K,) classes of all regions, image by image."""
        return np.concatenate([x.classes for x in self.images])


def read_regions(entry, key, max_images, max_regions, cells):
    """Read the labels of a data set.

    Args:
        entry: in the forms of DATASETS.TRAIN.
        key: config key that holds it, for errors.
        max_images: that many images, evenly spaced among those with a label.
        max_regions: that many of their regions, see :func:`keep_rare_classes`.
        cells: label maps are divided into ``cells`` x ``cells`` cells.

    Returns:
        :class:`LabelledRegions`.

    Raises:
        ValueError: the data set has no labels.
    """
    dicts = marked_dicts(resolve_dataset(entry, key))
    meta = MetadataCatalog.get(entry)
    with prefix_errors(f"{key}: {entry!r}"):
        if any(x.get("annotations") for x in dicts):
            kind, names = "boxes", meta.get("thing_classes")
            dicts = [x for x in dicts if counted({"annotations": x.get("annotations", ())})]
            images = [_boxes(x) for x in _evenly(dicts, max_images)]
        elif any("sem_seg_file_name" in x for x in dicts):
            kind, names = "cells", meta.get("stuff_classes")
            reader = LabelReader(entry)
            dicts = progress(_evenly(dicts, max_images), "Reading label maps")
            images = [_cells(x, reader, cells) for x in dicts]
        else:
            raise ValueError("it has neither boxes nor label maps. Name a labelled data set.")
        if not any(len(x.classes) for x in images):
            raise ValueError("no image of it has a labelled region.")
    return LabelledRegions(_limit(images, max_regions), list(names or ()), kind)


def keep_rare_classes(classes, limit):
    """Choose some of many regions, the same ones each time.

    Args:
        classes: (K,). limit: regions to keep, at most.

    Returns:
        (K,) bool. The classes take turns, so that no class is left out for the sake of a frequent
        one; within a class the choice is random.
    """
    order = np.random.default_rng(0).permutation(len(classes))
    turn = np.empty(len(classes), np.int64)
    for c in np.unique(classes):
        of_class = order[classes[order] == c]
        turn[of_class] = np.arange(len(of_class))
    chosen = order[np.argsort(turn[order], kind="stable")][:limit]
    return np.isin(np.arange(len(classes)), chosen)


def majority_cells(labels, cells):
    """Return the cells of a label map that one class covers by at least half.

    Args:
        labels: (H, W) classes; 255 where there is none.
        cells: rows and columns of the grid.

    Returns:
        boxes float32 (K, 4) in pixels, classes int64 (K,).
    """
    height, width = labels.shape
    y, x = (np.linspace(0, side, cells + 1) for side in (height, width))
    rows, columns = (edges.round().astype(int) for edges in (y, x))
    boxes, classes = [], []
    for i in range(cells):
        for j in range(cells):
            part = labels[rows[i] : rows[i + 1], columns[j] : columns[j + 1]]
            counts = np.bincount(part.ravel(), minlength=IGNORED + 1)
            if part.size and 2 * counts[:IGNORED].max() >= part.size:
                boxes.append((x[j], y[i], x[j + 1], y[i + 1]))
                classes.append(counts[:IGNORED].argmax())
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(classes, np.int64)


def _evenly(dicts, count):
    if len(dicts) <= count:
        return dicts
    return [dicts[i] for i in np.linspace(0, len(dicts) - 1, count).round().astype(int)]


def _boxes(item):
    classes = [x["category_id"] for x in counted(item)]
    boxes = np.array(boxes_of(item), np.float32)
    return LabelledImage(item["file_name"], boxes, np.array(classes, np.int64))


def _cells(item, reader, cells):
    path = item["sem_seg_file_name"]
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no label map {path!r}.")
    return LabelledImage(item["file_name"], *majority_cells(reader(path), cells))


def _limit(images, limit):
    """Return the images with ``limit`` of their regions, without those that have none left."""
    kept = keep_rare_classes(np.concatenate([x.classes for x in images]), limit)
    parts = np.split(kept, np.cumsum([len(x.classes) for x in images])[:-1])
    images = [LabelledImage(x.file_name, x.boxes[k], x.classes[k]) for x, k in zip(images, parts)]
    return [x for x in images if len(x.classes)]
