"""Folders of class folders: every image has the class that its folder is named after."""

import functools
import os
from collections import Counter

from ...utils.progress import progress
from .folder import check_folder, is_folder, list_image_folder
from .label_check import LabelCheck
from .paths import located
from .source import Source


def classes_source(path):
    """Open a folder with one folder of images for each class, as ImageNet and Places have it.

    Returns:
        :class:`~.source.Source`; ``image_classes``: names of the folders, sorted.
    """
    path = located(path)
    check_folder(path, "a folder with one folder of images for each class")
    with os.scandir(path) as entries:
        names = sorted(x.name for x in entries if x.name[0] != "." and is_folder(x))
    if len(names) < 2:
        raise ValueError(
            f"{path!r} must have a folder of images for each class, at least two; it has {names}."
        )
    metadata = {
        "image_classes": names,
        "evaluator_type": "image_classes",
        "image_folder": path,
    }
    return Source(
        functools.partial(_load, path, names), metadata, check=lambda most=None: _check(path, names)
    )


def _load(path, names):
    """Return dicts with ``file_name``, ``image_id`` (path below the folder) and ``category_id``."""
    dicts = []
    for i, name in enumerate(progress(names, f"Listing {path}")):
        for item in list_image_folder(os.path.join(path, name)):
            image_id = os.path.relpath(item["file_name"], path)
            dicts.append({"file_name": item["file_name"], "image_id": image_id, "category_id": i})
    return dicts


def _check(path, names):
    counts = Counter(x["category_id"] for x in _load(path, names))
    classes = {name: counts[i] for i, name in enumerate(names)}
    return LabelCheck(counts={"objects": sum(counts.values())}, classes=classes)
