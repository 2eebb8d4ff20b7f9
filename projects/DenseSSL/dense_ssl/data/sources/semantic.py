"""Data sets for semantic segmentation: images and their label maps."""

import functools
import logging
import os

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.pascal_voc import CLASS_NAMES

from .folder import check_folder, list_image_folder
from .label_maps import IGNORED, read_classes_file, read_label_map
from .voc import image_file, read_classes, read_split

logger = logging.getLogger(__name__)

VOC_CLASSES = ("background", *CLASS_NAMES)
# Folder of the label maps that goes with the list of images that SBD adds to VOC's.
_AUGMENTED = {"trainaug": "SegmentationClassAug", "train_aug": "SegmentationClassAug"}


def register_semseg(name, fields, key):
    """Register images and label maps of the same names under ``name``.

    Args:
        name: of the new data set.
        fields: "IMAGES:LABELS[:CLASSES.txt]": two folders, and the file of the class names (see
            :func:`~dense_ssl.data.sources.label_maps.read_classes_file`). Without it the values
            found in the label maps are the classes; 255 is no label.
        key: config key to name in errors.
    """
    images, labels, classes_file = _split_fields(fields)
    check_folder(images, key, "a folder of images")
    check_folder(labels, key, f"the folder of the label maps of {images!r}")
    load = functools.partial(pair_by_name, images, labels, key)
    if classes_file:
        classes, values, ignored = read_classes_file(classes_file, key)
    else:
        values, ignored = _find_values(load(), key), []
        classes = [str(x) for x in values]
    register_label_maps(name, load, classes, values, ignored)


def register_vocseg(name, root, split, labels, key):
    """Register a split of a VOC folder with its label maps under ``name``.

    Args:
        name: of the new data set.
        root: folder with JPEGImages, ImageSets/Segmentation and, for classes other than the 20 of
            VOC, classes.txt (one name per line; background, value 0, is not listed).
        split: name of a file in ImageSets/Segmentation, without .txt.
        labels: folder in ``root``; None: SegmentationClass, or SegmentationClassAug for trainaug.
        key: config key to name in errors.
    """
    root = os.path.expanduser(root)
    check_folder(root, key, "the root of a VOC data set")
    folder = os.path.join(root, labels or _AUGMENTED.get(split, "SegmentationClass"))
    for path in (os.path.join(root, "ImageSets", "Segmentation"), folder):
        check_folder(path, key, f"a part of the VOC data set {name!r}")
    read_split(root, split, key, "Segmentation")
    classes = ("background", *read_classes(root, key))
    load = functools.partial(load_voc_label_maps, root, split, folder, key)
    register_label_maps(name, load, classes)


def register_label_maps(name, load, classes, values=None, ignored=()):
    """Register a data set of label maps, with the metadata that training and evaluation read.

    Args:
        name: of the new data set.
        load: function that returns the dicts.
        classes: names.
        values: of the classes in files; None: 0, 1, 2, ...
        ignored: values whose pixels have no label, beside 255 (unless that is a class); None: all
            that are no class.
    """
    values = list(range(len(classes)) if values is None else values)
    if ignored is not None:
        ignored = [*ignored, *({IGNORED} - set(values) - set(ignored))]
    MetadataCatalog.get(name).set(
        stuff_classes=list(classes),
        label_values=values,
        ignored_values=ignored,
        ignore_label=IGNORED,  # of label maps as they are read, not as they are in files
        stuff_dataset_id_to_contiguous_id={x: i for i, x in enumerate(values)},
        evaluator_type="sem_seg",
    )
    DatasetCatalog.register(name, load)


def pair_by_name(images, labels, key, image_end="", label_end=""):
    """Images of a folder, nested or not, with the label maps of the same names in another one.

    Args:
        images, labels: folders.
        key: config key to name in errors.
        image_end, label_end: what the names end in before their extensions, where that differs:
            ``a/1_photo.jpg`` and ``a/1_labels.png``.

    Returns:
        list of dicts with ``file_name``, ``sem_seg_file_name`` and ``image_id``, the name that both
        share.
    """
    dicts = []
    for item in list_image_folder(images, key):
        stem = os.path.splitext(os.path.relpath(item["file_name"], images))[0]
        if stem.endswith(image_end):
            stem = stem[: len(stem) - len(image_end)]
            label = os.path.join(labels, f"{stem}{label_end}.png")
            dicts.append({**item, "sem_seg_file_name": label, "image_id": stem})
    if len({x["image_id"] for x in dicts}) < len(dicts):
        raise ValueError(
            f"{key}: {images!r} holds images that differ in their extensions only, so they would "
            "share their label maps. Rename or remove them."
        )
    _check_labels(dicts, key)
    return dicts


def load_voc_label_maps(root, split, folder, key):
    """Images of a VOC split with the label maps in ``folder``, as dicts."""
    dicts = []
    for name in read_split(root, split, key, "Segmentation"):
        if name.startswith("/"):  # lists of trainaug often say "/JPEGImages/1.jpg /Labels/1.png"
            name = os.path.splitext(os.path.basename(name))[0]
        dicts.append(
            {
                "file_name": image_file(root, name, key),
                "sem_seg_file_name": os.path.join(folder, f"{name}.png"),
                "image_id": name,
            }
        )
    _check_labels(dicts, key)
    return dicts


def _check_labels(dicts, key):
    missing = [x for x in dicts if not os.path.isfile(x["sem_seg_file_name"])]
    if missing:
        raise FileNotFoundError(
            f"{key}: {len(missing)} of {len(dicts)} images have no label map; that of "
            f"{missing[0]['file_name']!r} would be {missing[0]['sem_seg_file_name']!r}. Label maps "
            "are PNG files of the images' names: add them, or move the images away."
        )


def _split_fields(fields):
    """'IMAGES:LABELS[:CLASSES.txt]' -> three paths, the last one None where it is not given.

    Paths may hold colons themselves: the division of which most exists is taken.
    """
    parts = fields.split(":")
    choices = []
    for i in range(1, len(parts)):
        for j in range(i + 1, len(parts) + 1):
            choice = [":".join(x) for x in (parts[:i], parts[i:j], parts[j:])]
            if not choice[2] or choice[2].endswith(".txt"):
                choices.append([os.path.expanduser(x) for x in choice])
    images, labels, classes_file = max(
        choices, key=lambda x: 2 * sum(map(os.path.isdir, x[:2])) + os.path.isfile(x[2])
    )
    return images, labels, classes_file or None


def _find_values(dicts, key):
    """All values of the label maps but 255, sorted."""
    logger.info(
        "Reading %d label maps for their classes; 'semseg:IMAGES:LABELS:CLASSES.txt' spares it",
        len(dicts),
    )
    found = set()
    for item in dicts:
        found.update(np.unique(read_label_map(item["sem_seg_file_name"], key)).tolist())
    if not found - {IGNORED}:
        raise ValueError(f"{key}: the label maps hold no value but {IGNORED}, which is no label.")
    return sorted(found - {IGNORED})
