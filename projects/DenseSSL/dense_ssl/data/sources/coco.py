"""COCO json files with their image folders."""

import functools
import json
import os

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json

from .folder import check_folder

# What pycocotools reads of each annotation when it computes AP.
_EVALUATION_FIELDS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
# What the json must have; categories may be absent as a whole.
_FIELDS = {"images": ("id", "file_name"), "categories": ("id", "name")}
# So many images are looked for to see whether the image folder is the right one.
_PROBES = 20


def register_coco(name, json_file, image_root, key):
    """Register a COCO json under ``name``, with its metadata.

    The json may have no annotations, or not even categories: that is enough for pre-training.
    Beside detectron2's, the metadata hold ``has_labels`` and ``missing_fields``: what evaluation
    needs and some annotations lack.

    Args:
        name: of the new data set.
        json_file, image_root: paths.
        key: config key to name in errors.
    """
    json_file, image_root = os.path.expanduser(json_file), os.path.expanduser(image_root)
    if not os.path.isfile(json_file):
        raise FileNotFoundError(f"{key}: the annotation file {json_file!r} does not exist.")
    check_folder(image_root, key, f"the folder of the images in {json_file!r}")
    data = _read(json_file, key)
    categories = sorted(data.get("categories") or [], key=lambda x: x["id"])
    annotations = data.get("annotations") or []
    meta = MetadataCatalog.get(name)
    meta.set(json_file=json_file, image_root=image_root)
    meta.set(has_labels=bool(categories and annotations))
    load = _load_images
    if categories:
        load = _load_labelled
        missing = [x for x in _EVALUATION_FIELDS if any(x not in a for a in annotations)]
        meta.set(thing_classes=[x["name"] for x in categories], missing_fields=missing)
        meta.set(counts_keypoints=all("num_keypoints" in a for a in annotations))
        meta.set(evaluator_type="coco", **_keypoints(categories))
    DatasetCatalog.register(name, functools.partial(load, name, json_file, image_root, key))


def _keypoints(categories):
    """Metadata of the keypoints that all categories share, as far as the json names any.

    Where an image is flipped, ``left_x`` and ``right_x`` change places.
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
    return {"keypoint_names": names, "keypoint_flip_map": pairs}


def _read(json_file, key):
    try:
        with open(json_file, encoding="utf-8") as file:
            data = json.load(file)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{key}: {json_file!r} is no valid json ({error}). Was it cut off while being copied?"
        ) from error
    for part, fields in _FIELDS.items():
        entries = data.get(part) if isinstance(data, dict) else None
        if part == "categories" and not entries:
            continue
        if not entries or not all(x in entry for entry in entries for x in fields):
            raise ValueError(
                f"{key}: {json_file!r} is no COCO file: it needs a list {part!r} of entries with "
                f"{' and '.join(map(repr, fields))}."
            )
    return data


def _load_labelled(name, json_file, image_root, key):
    try:
        dicts = load_coco_json(json_file, image_root, name)
    except (AssertionError, KeyError, TypeError) as error:
        raise ValueError(
            f"{key}: {json_file!r} cannot be read as COCO annotations: {error!r}"
        ) from error
    _check_images(dicts, json_file, image_root, key)
    return dicts


def _load_images(name, json_file, image_root, key):
    """Images alone: detectron2's own loader wants categories."""
    del name
    dicts = [
        {
            "file_name": os.path.join(image_root, x["file_name"]),
            "image_id": x["id"],
            **{size: x[size] for size in ("height", "width") if size in x},
        }
        for x in sorted(_read(json_file, key)["images"], key=lambda x: x["id"])
    ]
    _check_images(dicts, json_file, image_root, key)
    return dicts


def _check_images(dicts, json_file, image_root, key):
    """Raise where the image folder is another one than the json means."""
    probes = [x["file_name"] for x in dicts[:: max(len(dicts) // _PROBES, 1)]]
    if not any(os.path.isfile(x) for x in probes):
        raise FileNotFoundError(
            f"{key}: none of {len(probes)} images of {json_file!r} looked for is in "
            f"{image_root!r}; the first one would be {probes[0]!r}. Give the folder that the "
            "names in the json are relative to."
        )
