"""Flat VOC folders: xml files beside the images, as Roboflow exports them.

ROOT/train, ROOT/valid and ROOT/test, without ImageSets: a split is a folder, and image ids start
with its name, so that ROOT takes the place of both Annotations and JPEGImages.
"""

import logging
import os
from pathlib import Path

from .folder import IMAGE_EXTENSIONS

logger = logging.getLogger(__name__)

# A pattern of annotation files.
XML = "*.[xX][mM][lL]"


def is_flat(root):
    """Return True if a folder has no part of the VOC layout."""
    parts = ("Annotations", "ImageSets", "JPEGImages")
    return not any(os.path.isdir(os.path.join(root, x)) for x in parts)


def check_flat(root, split):
    """Raise if a folder has neither layout, saying what is there."""
    files = [x for x in Path(root).glob(f"*/{XML}") if not x.name.startswith(".")]
    folders = sorted({x.parent.name for x in files})
    if split not in folders:
        found = f"Folders with xml files there: {folders}."
        if not folders and any(Path(root).glob(XML)):
            head, name = os.path.split(os.path.abspath(root))
            found = f"The xml files are in {root!r} itself: write 'voc:{head}:{name}'."
        raise FileNotFoundError(
            f"{root!r} is no VOC folder (Annotations, ImageSets/Main, JPEGImages), and has no "
            f"folder {split!r} with xml files beside the images, as Roboflow exports it. {found}"
        )


def read_flat(root, split):
    """Return the image ids of a split of a flat folder, such as "train/photo1"."""
    paths = sorted(x for x in Path(root, split).iterdir() if not x.name.startswith("."))
    labelled = [x.stem for x in paths if x.suffix.lower() == ".xml"]
    images = {x.stem for x in paths if x.suffix[1:].lower() in IMAGE_EXTENSIONS}
    unlabelled = len(images - set(labelled))
    if unlabelled:
        logger.warning("%d images in %s have no xml file and are left out. An image without "
                       "objects needs one without <object>.", unlabelled,
                       os.path.join(root, split))  # fmt: skip
    return [f"{split}/{x}" for x in labelled]
