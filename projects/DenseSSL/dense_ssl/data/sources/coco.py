"""COCO json files with their image folders."""

import functools
import json
import os

from detectron2.data.datasets import load_coco_json

from .folder import check_folder
from .paths import located

# What pycocotools reads of each annotation when it computes AP.
_EVALUATION_FIELDS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
# What the json must have; categories may be absent as a whole.
_FIELDS = {"images": ("id", "file_name"), "categories": ("id", "name")}
# The colour of lines between keypoints, where detectron2 draws them.
_LINE = (102, 204, 255)
# The number of images checked to see whether the image folder is the right one.
_PROBES = 20


def coco_dataset(name, json_file, image_root):
    """Open a COCO json, which may lack annotations, or even categories, for pre-training.

    Args:
        name: of the data set, for which detectron2 stores metadata when it reads the labels.
        json_file, image_root: paths.

    Returns:
        (function that reads the dicts, metadata). The metadata also has ``has_labels``,
        ``classes_without_objects`` (names) and ``missing_fields``: those that evaluation needs and
        some annotations lack.
    """
    json_file, image_root = located(json_file), located(image_root)
    if not os.path.isfile(json_file):
        raise FileNotFoundError(f"the annotation file {json_file!r} does not exist.")
    check_folder(image_root, f"the folder of the images in {json_file!r}")
    data = _read(json_file)
    categories = sorted(data.get("categories") or [], key=lambda x: x["id"])
    annotations = data.get("annotations") or []
    metadata = {
        "json_file": json_file,
        "image_root": image_root,
        "has_labels": bool(categories and annotations),
    }
    if not categories:
        return functools.partial(_load, json_file, image_root, None), metadata
    used = {x.get("category_id") for x in annotations}
    metadata.update(
        evaluator_type="coco",
        thing_classes=[x["name"] for x in categories],
        classes_without_objects=[x["name"] for x in categories if x["id"] not in used],
        missing_fields=[x for x in _EVALUATION_FIELDS if any(x not in a for a in annotations)],
        counts_keypoints=all("num_keypoints" in a for a in annotations),
        **_keypoints(categories),
    )
    return functools.partial(_load, json_file, image_root, name), metadata


def _keypoints(categories):
    """Return the metadata of the keypoints that all categories share, if the json names any.

    Where an image is flipped, ``left_x`` and ``right_x`` change places. The skeleton, if there is
    one, says which ones a picture connects.
    """
    lists = [list(x.get("keypoints") or ()) for x in categories]
    names = lists[0]
    if not names or any(x != names for x in lists):
        return {}
    mirrored = [
        (x, x.replace(left, right, 1))
        for x in names
        for left, right in (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"))
        if left in x
    ]
    pairs = [x for x in mirrored if x[1] in names]
    lines = categories[0].get("skeleton") or ()  # counted from 1
    known = range(1, len(names) + 1)
    rules = [(names[a - 1], names[b - 1], _LINE) for a, b in lines if a in known and b in known]
    more = {"keypoint_connection_rules": rules} if rules else {}
    return {"keypoint_names": names, "keypoint_flip_map": pairs, **more}


def _read(json_file):
    try:
        with open(json_file, encoding="utf-8") as file:
            data = json.load(file)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
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
    return data


def _load(json_file, image_root, name):
    """Read the dicts; without ``name`` only images, because detectron2 needs categories."""
    try:
        dicts = load_coco_json(json_file, image_root, name) if name else _read(json_file)["images"]
    except (AssertionError, KeyError, TypeError) as error:
        raise ValueError(f"cannot read {json_file!r} as COCO annotations: {error!r}") from error
    if not name:
        dicts = [
            {
                "file_name": os.path.join(image_root, x["file_name"]),
                "image_id": x["id"],
                **{size: x[size] for size in ("height", "width") if size in x},
            }
            for x in sorted(dicts, key=lambda x: x["id"])
        ]
    probes = [x["file_name"] for x in dicts[:: max(len(dicts) // _PROBES, 1)]]
    if not any(os.path.isfile(x) for x in probes):
        raise FileNotFoundError(
            f"none of the {len(probes)} images of {json_file!r} checked is in {image_root!r}; the "
            f"first one would be {probes[0]!r}. Give the folder that the names in the json are "
            "relative to."
        )
    return dicts
