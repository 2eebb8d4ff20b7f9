"""What the entries voc:ROOT:SPLIT of DATASETS name, and the check of their labels."""

import functools

from ...utils.progress import progress
from .check_cache import cached
from .label_check import BoxCheck, LabelCheck
from .source import Source
from .voc import (
    annotation_file,
    check_voc_folder,
    find_image,
    image_file,
    read_item,
    read_marked_item,
    read_split,
    split_classes,
)
from .voc_flat import check_flat, is_flat


def voc_source(root, split, year=None):
    """Open one split of a VOC folder.

    Args:
        root: folder with Annotations, ImageSets/Main and JPEGImages, or with a folder for each
            split. classes.txt in it (one name per line) chooses the classes and their order;
            without it they are those of :func:`classes_of_annotations`.
        split: name of a file in ImageSets/Main, without .txt, or of a folder.
        year: "2007" selects VOC2007's 11-point AP, any other year the area under the curve.

    Returns:
        :class:`~.source.Source`.
    """
    root = check_voc_folder(root)
    if is_flat(root):
        check_flat(root, split)
    else:
        check_voc_folder(root, "Annotations", "ImageSets/Main", "JPEGImages")
    read_split(root, split)
    return Source(
        images=functools.partial(list_voc_images, root, split),
        labels=functools.partial(_labels, root, split, year),
        check=lambda most=None: check_voc(root, split),
    )


def _labels(root, split, year):
    """Return (function that reads the dicts, metadata)."""
    classes = split_classes(root, split)
    metadata = {
        "thing_classes": classes,
        "dirname": root,
        "split": split,
        "year": 2007 if year == "2007" else 2012,
        "evaluator_type": "pascal_voc",
    }
    return functools.partial(_load, root, split, classes), metadata


def list_voc_images(root, split):
    """List the images; the annotations need not be right."""
    return [{"file_name": image_file(root, x), "image_id": x} for x in read_split(root, split)]


def _load(root, split, classes):
    ids = progress(read_split(root, split), f"Reading the annotations of {root}")
    return [read_item(root, x, classes) for x in ids]


def check_voc(root, split):
    """Return the :class:`~.label_check.LabelCheck` of a split; of before if unchanged."""
    ids = read_split(root, split)
    try:
        classes = split_classes(root, split)
    except (OSError, ValueError) as error:
        return LabelCheck(error=str(error))
    files = [y for x in ids for y in (annotation_file(root, x), find_image(root, x))]
    check = functools.partial(_check, root, ids, classes)
    return cached(LabelCheck, repr((root, ids, classes)), files, check)


def _check(root, ids, classes):
    check, boxes = LabelCheck(classes=dict.fromkeys(classes, 0)), BoxCheck()
    faults, difficult = [], 0
    for image_id in progress(ids, f"Checking the annotations of {root}"):
        try:
            item, marks = read_marked_item(root, image_id, classes)
        except (OSError, ValueError) as error:
            faults.append(str(error))
            continue
        difficult += sum(marks)
        path = annotation_file(root, image_id)
        for i, annotation in enumerate(item["annotations"], start=1):
            check.classes[classes[annotation["category_id"]]] += 1
            boxes.add(annotation["bbox"], item["width"], item["height"],
                      f"object {i} of {path!r}", corners=True)  # fmt: skip
    check.counts["objects"] = sum(check.classes.values())
    if difficult:
        check.counts["difficult"] = difficult
    check.notes = boxes.notes()
    if faults:
        first = f"{len(faults)} of {len(ids)} images have a fault, first: " if faults[1:] else ""
        check.error = first + faults[0]
    return check
