"""Folders of class folders: every image has the class that its folder is named after."""

import functools
import os

from ...utils.progress import progress
from .folder import check_folder, list_image_folder
from .paths import located


def classes_dataset(path):
    """Open a folder with one folder of images for each class, as ImageNet and Places have it.

    Returns:
        (function that lists the images, metadata). ``image_classes``: names of the folders, sorted.
    """
    path = located(path)
    check_folder(path, "a folder with one folder of images for each class")
    with os.scandir(path) as entries:
        names = sorted(x.name for x in entries if x.name[0] != "." and x.is_dir())
    if len(names) < 2:
        raise ValueError(
            f"{path!r} must have a folder of images for each class, at least two; it has {names}."
        )
    metadata = {"image_classes": names, "evaluator_type": "image_classes"}
    return functools.partial(_load, path, names), metadata


def _load(path, names):
    """Return dicts with ``file_name``, ``image_id`` (path below the folder) and ``category_id``."""
    dicts = []
    for i, name in enumerate(progress(names, f"Listing {path}")):
        for item in list_image_folder(os.path.join(path, name)):
            image_id = os.path.relpath(item["file_name"], path)
            dicts.append({"file_name": item["file_name"], "image_id": image_id, "category_id": i})
    return dicts
