"""Features of images, or of boxes in them, and which ones are close to each other."""

import os
from dataclasses import dataclass

import numpy as np
import torch
from detectron2.data import MetadataCatalog

from ..data.finetune.region_mapper import boxes_of, counted
from ..data.sources.entries import resolve_dataset
from ..data.sources.voc_difficult import marked_dicts
from ..utils.atomic_file import atomic_file


@dataclass
class Embedding:
    """Features of K images or boxes.

    Attributes:
        features: float32 (K, C).
        file_names: (K,) str, below ``root``.
        boxes: float32 (K, 4), (x1, y1, x2, y2) in pixels; the whole image where images are
            embedded.
        classes: int64 (K,) class of each box; -1 where there is none.
        class_names: names of the classes, by number.
        level: the feature map that was pooled from.
        root: folder of the images.
    """

    features: np.ndarray
    file_names: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    class_names: np.ndarray
    level: str
    root: str

    def save(self, path):
        """Write everything as a ``.npz`` that numpy reads without pickle."""
        with atomic_file(path) as file:
            np.savez_compressed(file, **vars(self))


@dataclass
class BoxList:
    """Images and the boxes in them that are to be embedded.

    Attributes:
        root, names: result of :func:`~dense_ssl.prediction.find_images`.
        boxes: {name: [(x1, y1, x2, y2)]}; None: the whole of every image.
        classes: {name: [number of the class of each box]}.
        class_names: list of str.
    """

    root: str
    names: list
    boxes: dict = None
    classes: dict = None
    class_names: tuple = ()


def labelled_boxes(entry):
    """Return the :class:`BoxList` of a labelled data set, without crowds and difficult objects.

    Args:
        entry: as in DATASETS, such as ``voc:BCCD:test`` or ``coco:LABELS.json:IMAGES``.
    """
    dicts = marked_dicts(resolve_dataset(entry, "--boxes"))
    dicts = [x for x in dicts if "annotations" in x and counted(x)]
    if not dicts:
        raise ValueError(f"--boxes: {entry!r} has no labelled boxes.")
    paths = [os.path.abspath(x["file_name"]) for x in dicts]
    root = os.path.commonpath([os.path.dirname(x) for x in paths])
    names = [os.path.relpath(x, root) for x in paths]
    return BoxList(
        root, names,
        {name: boxes_of(x) for name, x in zip(names, dicts)},
        {name: [a["category_id"] for a in counted(x)] for name, x in zip(names, dicts)},
        tuple(MetadataCatalog.get(entry).get("thing_classes", ())),
    )  # fmt: skip


@torch.no_grad()
def embed(model, images, box_list, level):
    """Compute the features of images or of their boxes.

    Args:
        model: :class:`~.roi_probe.BoxFeatures`.
        images: iterable of (name, uint8 (H, W, 3) in RGB).
        box_list: :class:`BoxList`.
        level: name of the map that the model pools from.

    Returns:
        :class:`Embedding`.
    """
    model.eval()
    features, names, boxes, classes = [], [], [], []
    for name, image in images:
        height, width = image.shape[:2]
        here = box_list.boxes[name] if box_list.boxes else [(0.0, 0.0, width, height)]
        features.append(model.pool(image, here).float().cpu().numpy())
        names += [name] * len(here)
        boxes += here
        classes += box_list.classes[name] if box_list.classes else [-1] * len(here)
    if not features:
        raise ValueError("no image could be read, so nothing is embedded.")
    return Embedding(
        np.concatenate(features), np.array(names), np.array(boxes, np.float32),
        np.array(classes, np.int64), np.array(box_list.class_names, dtype=str), level,
        box_list.root,
    )  # fmt: skip


def nearest(embedding, count, queries=None):
    """Find the nearest neighbours by the cosine of the features, in other images.

    Args:
        embedding: :class:`Embedding`.
        count: neighbours of each.
        queries: (Q,) indices; None: all.

    Returns:
        ((Q, n) indices, (Q, n) cosines), the nearest first; n is ``count``, or fewer where there
        are fewer in other images (index -1, cosine -inf).
    """
    features = embedding.features / np.linalg.norm(embedding.features, axis=1, keepdims=True).clip(
        1e-12
    )
    _, image = np.unique(embedding.file_names, return_inverse=True)
    queries = np.arange(len(features)) if queries is None else np.asarray(queries)
    indices, cosines = [], []
    for query in queries:  # row by row: all pairs at once may not fit
        cosine = features @ features[query]
        cosine[image == image[query]] = -np.inf
        order = np.argsort(-cosine, kind="stable")[:count]
        cosines.append(cosine[order])
        indices.append(np.where(np.isinf(cosine[order]), -1, order))
    return np.array(indices), np.array(cosines)


def same_class_share(embedding):
    """Return (share of objects whose nearest neighbour has their class, share by chance).

    The share by chance is that of the pairs of objects of different images with the same class.
    """
    neighbours = nearest(embedding, 1)[0][:, 0]
    known = (embedding.classes >= 0) & (neighbours >= 0)
    classes, names = embedding.classes, embedding.file_names
    same, pairs = 0, 0
    for i in np.flatnonzero(known):
        others = names != names[i]
        same += (classes[others] == classes[i]).sum()
        pairs += others.sum()
    hits = classes[known] == classes[neighbours[known]]
    return float(hits.mean()), same / max(pairs, 1)
