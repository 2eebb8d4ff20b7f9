"""COCO json files as other tools write them, and what pycocotools and detectron2 need of them."""

import json
import math
import os
import tempfile
from collections import Counter

from ...utils.text_files import read_encoded

# What the json must have; categories may be absent as a whole.
_FIELDS = {"images": ("id", "file_name"), "categories": ("id", "name")}
# An error names this many ids at most.
_SHOWN = 5
# Boxes may leave their image by so many pixels: some tools round.
_MARGIN = 2


def read_coco(json_file):
    """Return (content, encoding) of a COCO json; ValueError if it is none."""
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
        if not entries or not all(x in entry for entry in entries for x in fields):
            raise ValueError(
                f"{json_file!r} is not a COCO file: it needs a list {part!r} of entries with "
                f"{' and '.join(map(repr, fields))}."
            )
    _refuse_repeated(json_file, "images", data["images"], "Were files merged without renumbering?")
    return data, encoding


def label_faults(json_file, data):
    """Return (what makes the labels unusable, or "", and a list of what is odd about them)."""
    try:
        return "", _check_labels(json_file, data)
    except ValueError as error:
        return str(error), []


def _check_labels(json_file, data):
    _refuse_repeated(json_file, "categories", data["categories"], "Give each class an id.")
    known = {part: {x["id"] for x in data[part]} for part in ("images", "categories")}
    annotations = data["annotations"]
    for part, field in (("images", "image_id"), ("categories", "category_id")):
        unknown = [x[field] for x in annotations if field in x and x[field] not in known[part]]
        if unknown:
            raise ValueError(
                f"{json_file!r}: {len(unknown)} of {len(annotations)} annotations have a {field} "
                f"that is not among its {part}, the first one {unknown[0]!r}."
            )
    return _odd_boxes(json_file, data)


def for_tools(json_file, data, encoding):
    """Return the path of a json that pycocotools scores correctly.

    That is the file itself, or a copy in a temporary folder that lasts as long as the process, if

    * its encoding is not UTF-8, or it begins with a byte order mark,
    * ids of annotations are not different whole numbers above 0 (pycocotools takes 0 for "no
      match", and of equal ids one): they are counted anew,
    * annotations have no ``iscrowd`` (0) or no ``area`` (width x height of the box).

    Returns:
        (path, sentences that say what was changed).
    """
    annotations, notes = data["annotations"], []
    ids = [x.get("id") for x in annotations]
    if len(set(map(str, ids))) < len(ids) or not all(type(x) is int and x > 0 for x in ids):
        annotations = [{**x, "id": i + 1} for i, x in enumerate(annotations)]
        notes.append("ids of annotations are missing, repeated or below 1: counted anew")
    lack = sum("area" not in x for x in annotations)
    if lack:
        notes.append(f"{lack} annotations have no area: width x height of the box")
    if not notes and all("iscrowd" in x for x in annotations) and encoding == "utf-8":
        return json_file, []
    annotations = [{"iscrowd": 0, **_area(x), **x} for x in annotations]
    path = os.path.join(_folder(), f"{len(os.listdir(_folder()))}_{os.path.basename(json_file)}")
    with open(path, "w", encoding="utf-8") as file:
        json.dump({**data, "annotations": annotations}, file)
    return path, notes


def _area(annotation):
    box = annotation.get("bbox")
    return {"area": box[2] * box[3]} if _is_box(box) else {}


def _is_box(box):
    """True for a list of four finite numbers."""
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(x, (int, float)) and math.isfinite(x) for x in box)
    )


_kept = []  # the temporary folder of this process, deleted at its end


def _folder():
    if not _kept:
        _kept.append(tempfile.TemporaryDirectory(prefix="dense_ssl_labels_"))
    return _kept[0].name


def _refuse_repeated(json_file, part, entries, fix):
    counts = Counter(x["id"] for x in entries)
    repeated = [x for x, count in counts.items() if count > 1]
    if repeated:
        shown = ", ".join(map(repr, repeated[:_SHOWN])) + (" ..." if repeated[_SHOWN:] else "")
        raise ValueError(
            f"{json_file!r}: {len(repeated)} ids of {part} occur several times: {shown}. {fix}"
        )


def _odd_boxes(json_file, data):
    """Count boxes that are empty, or that leave their image; ValueError for NaN."""
    sizes = {x["id"]: (x.get("width"), x.get("height")) for x in data["images"]}
    annotations = [x for x in data["annotations"] if x.get("bbox") is not None]
    empty, outside = [], []
    for annotation in annotations:
        box = annotation["bbox"]
        if not _is_box(box):
            raise ValueError(
                f"{json_file!r}: the bbox of annotation {annotation.get('id')!r} is {box}; it must "
                "be four numbers: x, y, width, height."
            )
        x, y, width, height = box
        if width <= 0 or height <= 0:
            empty.append(annotation)
        elif _leaves(x, y, x + width, y + height, *sizes.get(annotation.get("image_id"), (0, 0))):
            outside.append(annotation)
    total, notes = len(annotations), []
    if empty:
        notes.append(f"{len(empty)} of {total} boxes have no area, first {_shown(empty[0])}")
    if outside:
        hint = ""
        if all(x["bbox"][2] > x["bbox"][0] and x["bbox"][3] > x["bbox"][1] for x in outside):
            hint = ". A bbox is x, y, width, height: are these x1, y1, x2, y2?"
        notes.append(
            f"{len(outside)} of {total} boxes leave their image, first {_shown(outside[0])}{hint}"
        )
    if total and not empty and all(max(x["bbox"]) <= 1 for x in annotations):
        notes.append("no number of a bbox is above 1: are they shares of the image's sides? They "
                     "must be pixels")  # fmt: skip
    return notes


def _leaves(x1, y1, x2, y2, width, height):
    if min(x1, y1) < -_MARGIN:
        return True
    return bool(width and height) and (x2 > width + _MARGIN or y2 > height + _MARGIN)


def _shown(annotation):
    return f"annotation {annotation.get('id')!r} with {annotation['bbox']}"
