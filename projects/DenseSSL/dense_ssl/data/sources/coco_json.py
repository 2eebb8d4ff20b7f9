"""COCO json files as other tools write them, and what pycocotools and detectron2 need of them."""

import json
import math
import os
import tempfile
from collections import Counter

from ...utils.text_files import FLAGS, read_encoded
from .coco_keypoints import (
    clean_keypoints,
    counts_of_keypoints,
    fields_of_keypoints,
    has_keypoints,
)
from .coco_masks import clean_mask

# What the json must have; categories may be absent as a whole.
_FIELDS = {"images": ("id", "file_name"), "categories": ("id", "name")}
_SIDES = ("width", "height")
# An error names this many ids at most.
_SHOWN = 5


def read_coco(json_file):
    """Return (content, encoding) of a COCO json; ValueError if it is none.

    The content always has lists of images, categories (by their ids, their names as text) and
    annotations; only images are never empty. ``renamed``: a name was no text.
    """
    text, encoding = read_encoded(json_file)
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{json_file!r} is not valid json ({error}). Was it cut off while being copied?"
        ) from error
    for part, fields in _FIELDS.items():
        entries = data.get(part) if isinstance(data, dict) else None
        if part == "categories" and not entries:
            continue
        if (
            not isinstance(entries, list)
            or not entries
            or not all(isinstance(x, dict) and all(field in x for field in fields) for x in entries)
        ):
            raise ValueError(
                f"{json_file!r} is not a COCO file: it needs a list {part!r} of entries with "
                f"{' and '.join(map(repr, fields))}."
            )
        odd = [x["id"] for x in entries if not is_id(x["id"])]
        if odd:
            raise ValueError(f"{json_file!r}: {odd[0]!r} is no id; number the {part}.")
    refuse_repeated(json_file, "images", data["images"], "Were files merged without renumbering?")
    categories = data.get("categories") or []
    if len({isinstance(x["id"], str) for x in categories}) > 1:
        raise ValueError(f"{json_file!r} has both numbers and texts as ids of categories.")
    categories = sorted(categories, key=lambda x: x["id"])
    texts = [{**x, "name": str(x["name"])} if is_id(x["name"]) else x for x in categories]
    return {
        **data,
        "categories": texts,
        "annotations": data.get("annotations") or [],
        "renamed": texts != categories,
    }, encoding


def tool_changes(data, encoding):
    """Return (bool: pycocotools needs a corrected copy, beside its masks; sentences on it).

    It does, if

    * its encoding is not UTF-8, or it begins with a byte order mark,
    * ids of annotations are not different whole numbers above 0 (pycocotools takes 0 for "no
      match", and of equal ids one): they are counted anew,
    * annotations have no ``iscrowd`` (0), or a word for it,
    * annotations have no number as ``area`` (width x height of the box),
    * annotations have an ``ignore``, which detectron2 refuses: they are crowds,
    * widths or heights are no whole numbers as json writes them (640.0),
    * names of categories are numbers.

    Raises:
        ValueError: an ``iscrowd`` or ``ignore`` says neither yes nor no.
    """
    annotations, notes = data["annotations"], []
    if _must_renumber(annotations):
        notes.append("ids of annotations are missing, repeated or below 1: counted anew")
    lack = sum(not _is_number(x.get("area")) for x in annotations)
    if lack:
        notes.append(f"{lack} annotations have no area: width x height of the box")
    ignored = sum(_flag(x, "ignore") for x in annotations)
    if ignored:
        notes.append(f"{ignored} annotations have ignore 1: they are taken for crowds, which are "
                     "neither learned nor counted")  # fmt: skip
    flags = [(x.get("iscrowd"), crowd_flag(x)) for x in annotations]
    rewrite = bool(notes) or encoding != "utf-8" or data["renamed"]
    rewrite |= any(type(x.get(side)) is not int for x in data["images"] for side in _SIDES)
    rewrite |= any(x.get("ignore", 0) != 0 for x in annotations)
    return rewrite or any(given is None or given != flag for given, flag in flags), notes


def crowd_flag(annotation):
    """Return 1 for a crowd, or what is to be ignored like one, else 0."""
    return max(_flag(annotation, "iscrowd"), _flag(annotation, "ignore"))


def _flag(annotation, field):
    value = annotation.get(field)
    if isinstance(value, str):
        value = FLAGS.get(value.strip().lower(), value)
    if value is None or (_is_number(value) and value in (0, 1)):
        return int(value or 0)
    raise ValueError(f"{field} of annotation {annotation.get('id')!r} is {value!r}; it must be "
                     "0 or 1.")  # fmt: skip


def _is_number(value):
    return isinstance(value, (int, float)) and math.isfinite(value)


def _must_renumber(annotations):
    ids = [x.get("id") for x in annotations]
    return len(set(map(str, ids))) < len(ids) or not all(type(x) is int and x > 0 for x in ids)


def corrected_copy(json_file):
    """Write a json that pycocotools scores correctly; return its path.

    It is in a temporary folder that lasts as long as the process. What :func:`tool_changes` lists
    is corrected. Masks and keypoints become what :func:`~.coco_masks.clean_mask` and
    :func:`~.coco_keypoints.clean_keypoints` make of them; those that cannot be are left out, so
    that a model without them can use the file.
    """
    data = read_coco(json_file)[0]
    sizes = {x["id"]: (x.get("height"), x.get("width")) for x in data["images"]}
    renumber = _must_renumber(data["annotations"])
    counts = counts_of_keypoints(data) if has_keypoints(data) else {}
    annotations = []
    for number, annotation in enumerate(data["annotations"], start=1):
        fixed = {**annotation, "iscrowd": crowd_flag(annotation), **_area(annotation)}
        fixed.pop("ignore", None)
        mask = _mask(fixed.pop("segmentation", None), sizes.get(annotation.get("image_id")))
        points = _keypoints(fixed.pop("keypoints", None), counts.get(fixed.get("category_id"), 0))
        annotations.append({**fixed, **mask, **points, **({"id": number} if renumber else {})})
    path = os.path.join(_folder(), f"{len(os.listdir(_folder()))}_{os.path.basename(json_file)}")
    with open(path, "w", encoding="utf-8") as file:
        del data["renamed"]
        images = [{**x, **{y: int(x[y]) for y in _SIDES}} for x in data["images"]]
        json.dump({**data, "images": images, "annotations": annotations}, file)
    return path


def _mask(given, size):
    try:
        mask = clean_mask(given, *size)
    except ValueError:
        mask = None
    return {"segmentation": mask} if mask else {}


def _keypoints(given, count):
    try:
        return fields_of_keypoints(clean_keypoints(given, count), count)
    except ValueError:
        return {}


def _area(annotation):
    if _is_number(annotation.get("area")):
        return {}
    box = annotation.get("bbox")
    return {"area": box[2] * box[3] if is_box(box) else 0}


def is_box(box):
    """True for a list of four finite numbers."""
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(x, (int, float)) and math.isfinite(x) for x in box)
    )


def is_id(value):
    """True for what may be the id of an image or a class."""
    return isinstance(value, (int, float, str))


_kept = []  # the temporary folder of this process, deleted at its end


def _folder():
    if not _kept:
        _kept.append(tempfile.TemporaryDirectory(prefix="dense_ssl_labels_"))
    return _kept[0].name


def refuse_repeated(json_file, part, entries, fix):
    """Raise if two entries of a part have one id."""
    counts = Counter(x["id"] for x in entries)
    repeated = [x for x, count in counts.items() if count > 1]
    if repeated:
        shown = ", ".join(map(repr, repeated[:_SHOWN])) + (" ..." if repeated[_SHOWN:] else "")
        raise ValueError(
            f"{json_file!r}: {len(repeated)} ids of {part} occur several times: {shown}. {fix}"
        )
