"""What the labels of a COCO json hold, and what is wrong or odd about them."""

import dataclasses
import math
from collections import Counter

from ...utils.errors import prefix_errors
from .coco_ids import refuse_wrong_ids
from .coco_json import crowd_flag, is_box, read_coco, tool_changes
from .coco_keypoints import (
    clean_keypoints,
    counts_of_keypoints,
    fields_of_keypoints,
    has_keypoints,
)
from .coco_masks import clean_mask
from .label_check import MARGIN, BoxCheck, LabelCheck, Oddities
from .source import IMAGES_AT_START, evenly

# What pycocotools and detectron2 read of each annotation, and nobody can add.
_FIELDS = ("image_id", "category_id", "bbox")
# How the readers see the forms of masks.
_NO_MASK = "{count} of {total} objects have no mask"
_SHORT = "{count} of {total} masks have polygons of fewer than 6 numbers, or an odd number of them"
_OUTSIDE = "{count} of {total} masks leave their image"
_NO_POINTS = "{count} of {total} objects have no keypoints"
_UNCOUNTED = "num_keypoints of {count} of {total} objects is not the number of labelled points"
_POINTS_OUTSIDE = "{count} of {total} objects have labelled keypoints outside of their image"
# Oddities, and what becomes of them.
_HINTS = {
    _NO_MASK: " (absent, empty, or no polygon of three points); a model with masks does not learn "
    "them, and its evaluation ignores them",
    _SHORT: "; these polygons are left out",
    _NO_POINTS: "; a model with keypoints does not learn them",
    _UNCOUNTED: ": counted anew",
}


@dataclasses.dataclass
class CocoCheck(LabelCheck):
    """The check of a COCO json, with what else training and evaluation need to know of it.

    Attributes:
        rewrite: pycocotools needs a corrected copy.
        categories: list of dicts, in the order of their ids.
        images: their number. sample: IMAGES_AT_START of their dicts, evenly spaced.
    """

    rewrite: bool = False
    categories: list = dataclasses.field(default_factory=list)
    images: int = 0
    sample: list = dataclasses.field(default_factory=list)


def check_coco(json_file):
    """Check the labels of a COCO json.

    Faults are in the result; only what stops pre-training too is raised.

    Args:
        json_file: path.

    Returns:
        :class:`CocoCheck`; with neither categories nor counts if the json has no labels.

    Raises:
        ValueError: no COCO json, or two images have one id.
    """
    data, encoding = read_coco(json_file)
    if not data["categories"]:
        return CocoCheck()
    check = CocoCheck(
        categories=[
            {k: x[k] for k in ("id", "name", "keypoints", "skeleton") if k in x}
            for x in data["categories"]
        ],
        images=len(data["images"]),
        sample=[
            {k: x[k] for k in ("file_name", "width", "height") if k in x}
            for x in evenly(data["images"], IMAGES_AT_START)
        ],
    )
    try:
        _refuse_faults(json_file, data)
        with prefix_errors(repr(json_file)):
            check.rewrite, check.notes = tool_changes(data, encoding)
        check.notes += _check_boxes(json_file, data)
    except ValueError as error:
        check.error = str(error)
    else:
        _check_masks(json_file, data, check)
        if has_keypoints(data):
            _check_keypoints(json_file, data, check)
        _count(data, check)
    return check


def _refuse_faults(json_file, data):
    """Raise for what is no label at all."""
    annotations, images = data["annotations"], data["images"]
    if not isinstance(annotations, list) or not all(isinstance(x, dict) for x in annotations):
        raise ValueError(f"{json_file!r}: 'annotations' must be a list of objects.")
    refuse_wrong_ids(json_file, data)
    for field in _FIELDS:
        lack = [x for x in annotations if x.get(field) is None]
        if lack:
            raise ValueError(
                f"{json_file!r}: {len(lack)} of {len(annotations)} annotations have no {field}, "
                f"first {name_of(lack[0])}. Add it, or delete them."
            )
    sizes = [x for x in images if not (_is_size(x.get("width")) and _is_size(x.get("height")))]
    if sizes:
        raise ValueError(
            f"{json_file!r}: {len(sizes)} of {len(images)} images have no width and height (whole "
            f"numbers above 0), first image {sizes[0]['id']!r}. Add those of the files, after "
            "turning them as their EXIF says."
        )


def _is_size(value):
    return isinstance(value, (int, float)) and 0 < value < math.inf and value == int(value)


def _check_boxes(json_file, data):
    """Return what is odd about boxes; ValueError for one that is no box."""
    sizes = {x["id"]: (x["width"], x["height"]) for x in data["images"]}
    boxes = BoxCheck()
    for annotation in data["annotations"]:
        box = annotation["bbox"]
        if not is_box(box):
            raise ValueError(
                f"{json_file!r}: the bbox of {name_of(annotation)} is {box}; it must be four "
                "numbers: x, y, width, height."
            )
        boxes.add(box, *sizes[annotation["image_id"]], name_of(annotation))
    return boxes.notes()


def _check_masks(json_file, data, check):
    """Fill in what a check says of masks."""
    sizes = {x["id"]: (x["height"], x["width"]) for x in data["images"]}
    found, forms = Oddities(), Counter()
    for annotation in data["annotations"]:
        size, is_crowd = sizes[annotation["image_id"]], crowd_flag(annotation)
        given = annotation.get("segmentation")
        try:
            mask = clean_mask(given, *size)
        except ValueError as error:
            check.mask_error = (check.mask_error or f"{json_file!r}: the segmentation of "
                                f"{name_of(annotation)} {error}")  # fmt: skip
            check.rewrite = True
            continue
        check.rewrite |= given is not None and mask != given
        if mask is None:
            form = "without mask"
            if not is_crowd:
                found.add(_NO_MASK, name_of(annotation))
        else:
            form = "RLEs" if isinstance(mask, dict) else "polygons"
            _find_odd_polygons(mask, given, size, name_of(annotation), found)
        if not is_crowd:  # models do not learn them
            forms[form] += 1
    check.counts.update(forms)
    if forms["polygons"] or forms["RLEs"]:
        check.mask_notes = found.notes(_HINTS, total=sum(forms.values()))


def _find_odd_polygons(mask, given, size, example, found):
    if not isinstance(mask, list):
        return
    if len(mask) < len(given) and isinstance(given[0], list):
        found.add(_SHORT, example)
    for polygon in mask:
        xs, ys = polygon[0::2], polygon[1::2]
        if min(polygon) < -MARGIN or max(xs) > size[1] + MARGIN or max(ys) > size[0] + MARGIN:
            found.add(_OUTSIDE, example)
            return


def _check_keypoints(json_file, data, check):
    """Fill in what a check says of keypoints."""
    sizes = {x["id"]: (x["width"], x["height"]) for x in data["images"]}
    counts, found, labelled = counts_of_keypoints(data), Oddities(), 0
    objects = [x for x in data["annotations"] if not crowd_flag(x)]
    for annotation in data["annotations"]:
        count = counts[annotation["category_id"]]
        try:
            points = clean_keypoints(annotation.get("keypoints"), count)
        except ValueError as error:
            check.keypoint_error = check.keypoint_error or (
                f"{json_file!r}: the keypoints of {name_of(annotation)} {error}"
            )
            check.rewrite = True
            continue
        needed = fields_of_keypoints(points, count)
        check.rewrite |= any(annotation.get(k) != x for k, x in needed.items())
        if crowd_flag(annotation):  # models do not learn them
            continue
        labelled += bool(needed.get("num_keypoints"))
        for kind in _odd_keypoints(points, annotation, needed, sizes[annotation["image_id"]]):
            found.add(kind, name_of(annotation))
    check.counts["with keypoints"] = labelled
    check.keypoint_notes = found.notes(_HINTS, total=len(objects))


def _odd_keypoints(points, annotation, needed, size):
    if points is None:
        return [_NO_POINTS] if needed else []
    kinds = []
    if annotation.get("num_keypoints") != needed["num_keypoints"]:
        kinds.append(_UNCOUNTED)
    if any(
        seen and not (-MARGIN <= x <= size[0] + MARGIN and -MARGIN <= y <= size[1] + MARGIN)
        for x, y, seen in zip(points[0::3], points[1::3], points[2::3])
    ):
        kinds.append(_POINTS_OUTSIDE)
    return kinds


def _count(data, check):
    names = {x["id"]: x["name"] for x in data["categories"]}
    check.classes = dict.fromkeys((str(x) for x in names.values()), 0)
    for annotation in data["annotations"]:
        if crowd_flag(annotation):
            check.counts["crowds"] = check.counts.get("crowds", 0) + 1
        check.classes[str(names[annotation["category_id"]])] += 1
    check.counts["objects"] = len(data["annotations"])


def name_of(annotation):
    """Return "annotation 7"."""
    return f"annotation {annotation.get('id')!r}"
