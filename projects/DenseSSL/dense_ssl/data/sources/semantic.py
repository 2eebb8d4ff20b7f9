"""Data sets for semantic segmentation: images and their label maps."""

import dataclasses
import functools
import logging
import os

import numpy as np
from detectron2.data.datasets.pascal_voc import CLASS_NAMES

from ...utils.progress import progress
from .check_cache import cached
from .folder import check_folder, list_image_folder
from .label_map_check import check_label_maps
from .label_maps import IGNORED, MAX_CLASSES, label_map_metadata, read_classes_file, read_label_map
from .paths import located
from .source import Source
from .voc import check_voc_folder, image_file, read_classes, read_split

logger = logging.getLogger(__name__)

_BACKGROUND = "background"
VOC_CLASSES = (_BACKGROUND, *CLASS_NAMES)


def semseg_source(name, fields):
    """Open images and label maps of the same names.

    Args:
        name: of the data set.
        fields: "IMAGES:LABELS[:CLASSES.txt]": two folders, and the file of the class names (see
            :func:`~dense_ssl.data.sources.label_maps.read_classes_file`). Without it the values
            found in the label maps are the classes; 255 means no label.

    Returns:
        :class:`~.source.Source`.
    """
    images, labels, classes_file = _split_fields(fields)
    check_folder(images, "a folder of images")
    check_folder(labels, f"the folder of the label maps of {images!r}")
    load = functools.partial(pair_by_name, images, labels)

    def read_labels():
        if classes_file:
            return load, label_map_metadata(*read_classes_file(classes_file))
        dicts = load()
        files = [x["sem_seg_file_name"] for x in dicts]
        values = cached(LabelValues, labels, files, lambda: _find_values(files)).values
        return load, label_map_metadata([str(x) for x in values], values)

    return Source(
        images=functools.partial(_named_images, images),
        metadata={"image_folder": images},
        labels=read_labels,
        check=functools.partial(check_label_maps, name, load),
    )


def vocseg_source(name, root, split, labels=None):
    """Open a split of a VOC folder with its label maps.

    Args:
        name: of the data set.
        root: folder with JPEGImages, ImageSets/Segmentation and, for classes other than the 20 of
            VOC, classes.txt (one name per line; background, value 0, need not be listed, and is
            the first one if it is).
        split: name of a file in ImageSets/Segmentation, without .txt.
        labels: folder in ``root``; None: SegmentationClass, or SegmentationClassAug for trainaug.

    Returns:
        :class:`~.source.Source`.
    """
    labels = labels or voc_label_folder(split)
    root = check_voc_folder(root, "ImageSets/Segmentation", labels)
    read_split(root, split, "Segmentation")
    load = functools.partial(load_voc_label_maps, root, split, os.path.join(root, labels))

    def read_labels():
        classes = read_classes(root) or CLASS_NAMES
        if classes[0].lower() == _BACKGROUND:  # listed nevertheless
            classes = classes[1:]
        if _BACKGROUND in [x.lower() for x in classes]:
            raise ValueError(
                f"{os.path.join(root, 'classes.txt')!r} lists {_BACKGROUND!r} behind other "
                "classes. It has the value 0, and the classes are counted from 1: delete its line."
            )
        return load, label_map_metadata((_BACKGROUND, *classes))

    return Source(
        images=functools.partial(_voc_images, root, split),
        labels=read_labels,
        check=functools.partial(check_label_maps, name, load),
    )


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
    dicts = [
        {**x, "sem_seg_file_name": os.path.join(labels, f"{x['image_id']}{label_end}.png")}
        for x in _named_images(images, image_end)
    ]
    if len({x["image_id"] for x in dicts}) < len(dicts):
        raise ValueError(
            f"{images!r} holds images that differ in their extensions only, so they would share "
            "their label maps. Rename or remove them."
        )
    return _with_labels(dicts)


def _named_images(images, image_end=""):
    """List the images of a folder; ``image_id`` is the name below it without ``image_end``."""
    dicts = []
    for item in list_image_folder(images):
        stem = os.path.splitext(os.path.relpath(item["file_name"], images))[0]
        if stem.endswith(image_end):
            dicts.append({**item, "image_id": stem[: len(stem) - len(image_end)]})
    return dicts


def _voc_images(root, split):
    dicts = []
    for name in read_split(root, split, "Segmentation"):
        if name.startswith("/"):  # lists of trainaug often say "/JPEGImages/1.jpg /Labels/1.png"
            name = os.path.splitext(os.path.basename(name))[0]
        dicts.append({"file_name": image_file(root, name), "image_id": name})
    return dicts


def load_voc_label_maps(root, split, folder):
    """Return the dicts of a VOC split with the label maps in ``folder``."""
    return _with_labels(
        [
            {**x, "sem_seg_file_name": os.path.join(folder, f"{x['image_id']}.png")}
            for x in _voc_images(root, split)
        ]
    )


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


@dataclasses.dataclass
class LabelValues:
    """Values of label maps except 255, sorted."""

    values: list


def _find_values(files):
    """Return the :class:`LabelValues` of label maps."""
    logger.info(
        "Reading %d label maps for their classes; 'semseg:IMAGES:LABELS:CLASSES.txt' avoids it",
        len(files),
    )
    found = set()
    for path in progress(files, "Reading label maps"):
        found.update(np.unique(read_label_map(path)).tolist())
        if len(found - {IGNORED}) > MAX_CLASSES:
            raise ValueError(
                f"the label maps up to {path!r} have more than {MAX_CLASSES} different values "
                f"({_some(found)}), but there can be {MAX_CLASSES} classes at most. Values between "
                "those of the classes come from a lossy format or from resizing with "
                "interpolation: write the label maps anew, as PNG, with nearest neighbour. If the "
                "values count objects or join classes with them, divide them down to classes. If "
                "only some values matter, name them in the file of the classes, as the third part "
                "of 'semseg:IMAGES:LABELS:CLASSES.txt'; a line '7 border (ignore)' leaves pixels "
                "of value 7 out."
            )
    if not found - {IGNORED}:
        raise ValueError(f"the label maps have no value except {IGNORED}, which means no label.")
    if len(found) == 2 and IGNORED in found:  # masks of one object, as many tools draw them
        (other,) = found - {IGNORED}
        raise ValueError(
            f"the label maps have the values {other} and {IGNORED} alone, and {IGNORED} means no "
            f"label. If it is a class, name both in a file, '{other} background' and '{IGNORED} "
            "object' in a line each, as the third part of 'semseg:IMAGES:LABELS:CLASSES.txt'."
        )
    return LabelValues(sorted(found - {IGNORED}))


def _some(values):
    values = sorted(values)
    return f"{', '.join(map(str, values[:6]))} ... {values[-1]}"
