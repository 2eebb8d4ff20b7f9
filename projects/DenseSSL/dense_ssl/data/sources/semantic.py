"""Data sets for semantic segmentation: images and their label maps."""

import functools
import logging
import os

import numpy as np
from detectron2.data.datasets.pascal_voc import CLASS_NAMES

from .folder import check_folder, list_image_folder
from .label_maps import IGNORED, label_map_metadata, read_classes_file, read_label_map
from .paths import located
from .voc import check_voc_folder, image_file, read_classes, read_split

logger = logging.getLogger(__name__)

VOC_CLASSES = ("background", *CLASS_NAMES)


def semseg_dataset(fields):
    """Open images and label maps of the same names.

    Args:
        fields: "IMAGES:LABELS[:CLASSES.txt]": two folders, and the file of the class names (see
            :func:`~dense_ssl.data.sources.label_maps.read_classes_file`). Without it the values
            found in the label maps are the classes; 255 means no label.

    Returns:
        (function that lists the dicts, metadata).
    """
    images, labels, classes_file = _split_fields(fields)
    check_folder(images, "a folder of images")
    check_folder(labels, f"the folder of the label maps of {images!r}")
    load = functools.partial(pair_by_name, images, labels)
    if classes_file:
        classes, values, ignored = read_classes_file(classes_file)
    else:
        values, ignored = _find_values(load()), []
        classes = [str(x) for x in values]
    return load, label_map_metadata(classes, values, ignored)


def vocseg_dataset(root, split, labels=None):
    """Open a split of a VOC folder with its label maps.

    Args:
        root: folder with JPEGImages, ImageSets/Segmentation and, for classes other than the 20 of
            VOC, classes.txt (one name per line; background, value 0, is not listed).
        split: name of a file in ImageSets/Segmentation, without .txt.
        labels: folder in ``root``; None: SegmentationClass, or SegmentationClassAug for trainaug.

    Returns:
        (function that lists the dicts, metadata).
    """
    labels = labels or voc_label_folder(split)
    root = check_voc_folder(root, "ImageSets/Segmentation", labels)
    read_split(root, split, "Segmentation")
    load = functools.partial(load_voc_label_maps, root, split, os.path.join(root, labels))
    return load, label_map_metadata(("background", *(read_classes(root) or CLASS_NAMES)))


def voc_label_folder(split):
    """Return the folder of the label maps of a split: SBD's for the list that SBD extends."""
    is_augmented = split in ("trainaug", "train_aug")
    return "SegmentationClassAug" if is_augmented else "SegmentationClass"


def pair_by_name(images, labels, image_end="", label_end=""):
    """Pair the images of a folder, nested or not, with the label maps of the same names.

    Args:
        images, labels: folders.
        image_end, label_end: the different ends of their names before the extensions, if any:
            ``a/1_photo.jpg`` and ``a/1_labels.png``.

    Returns:
        list of dicts with ``file_name``, ``sem_seg_file_name`` and ``image_id``, the name that both
        share.
    """
    dicts = []
    for item in list_image_folder(images):
        stem = os.path.splitext(os.path.relpath(item["file_name"], images))[0]
        if stem.endswith(image_end):
            stem = stem[: len(stem) - len(image_end)]
            label = os.path.join(labels, f"{stem}{label_end}.png")
            dicts.append({**item, "sem_seg_file_name": label, "image_id": stem})
    if len({x["image_id"] for x in dicts}) < len(dicts):
        raise ValueError(
            f"{images!r} holds images that differ in their extensions only, so they would share "
            "their label maps. Rename or remove them."
        )
    return _with_labels(dicts)


def load_voc_label_maps(root, split, folder):
    """Return the dicts of a VOC split with the label maps in ``folder``."""
    dicts = []
    for name in read_split(root, split, "Segmentation"):
        if name.startswith("/"):  # lists of trainaug often say "/JPEGImages/1.jpg /Labels/1.png"
            name = os.path.splitext(os.path.basename(name))[0]
        label = os.path.join(folder, f"{name}.png")
        item = {"file_name": image_file(root, name), "sem_seg_file_name": label, "image_id": name}
        dicts.append(item)
    return _with_labels(dicts)


def _with_labels(dicts):
    """Return ``dicts``; raise if label maps are missing."""
    missing = [x for x in dicts if not os.path.isfile(x["sem_seg_file_name"])]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(dicts)} images have no label map; that of "
            f"{missing[0]['file_name']!r} would be {missing[0]['sem_seg_file_name']!r}. Label maps "
            "are PNG files of the images' names: add them, or move the images away."
        )
    return dicts


def _split_fields(fields):
    """'IMAGES:LABELS[:CLASSES.txt]' -> three paths, the last one None if it is not given.

    Paths may hold colons themselves: of all divisions, the one whose paths exist is taken.
    """
    parts = fields.split(":")
    choices = []
    for i in range(1, len(parts)):
        for j in range(i + 1, len(parts) + 1):
            choice = [":".join(x) for x in (parts[:i], parts[i:j], parts[j:])]
            if not choice[2] or choice[2].endswith(".txt"):
                choices.append([located(x) for x in choice])
    images, labels, classes_file = max(
        choices, key=lambda x: 2 * sum(map(os.path.isdir, x[:2])) + os.path.isfile(x[2])
    )
    return images, labels, classes_file or None


def _find_values(dicts):
    """Return all values of the label maps except 255, sorted."""
    logger.info(
        "Reading %d label maps for their classes; 'semseg:IMAGES:LABELS:CLASSES.txt' avoids it",
        len(dicts),
    )
    found = set()
    for item in dicts:
        found.update(np.unique(read_label_map(item["sem_seg_file_name"])).tolist())
    if not found - {IGNORED}:
        raise ValueError(f"the label maps have no value except {IGNORED}, which means no label.")
    return sorted(found - {IGNORED})
