"""COCO json files with their image folders."""

import functools
import os
import re

from detectron2.data.datasets import load_coco_json

from .coco_json import for_tools, label_faults, read_coco
from .folder import check_folder
from .paths import located

# What pycocotools reads of each annotation when it computes AP, and nobody can add.
_EVALUATION_FIELDS = ("image_id", "category_id", "bbox")
# In the name of a keypoint: left, Left, LEFT, or l and L as a word (l_eye, eye.L, lEye).
_LEFT = re.compile(r"left|Left|LEFT|(?<![A-Za-z])[lL](?![A-Za-z])|^l(?=[A-Z])")
_RIGHT = {"left": "right", "Left": "Right", "LEFT": "RIGHT", "l": "r", "L": "R"}
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
        ``classes_without_objects`` (names), ``missing_fields``: those that evaluation needs and
        some annotations lack, ``label_error`` (or ""), ``label_notes``: what is odd (sentences),
        and ``image_dicts``: a function that reads the dicts without labels. Faults of labels are
        not raised here, because pre-training does not read them.
    """
    json_file, image_root = located(json_file), located(image_root)
    if not os.path.isfile(json_file):
        raise FileNotFoundError(f"the annotation file {json_file!r} does not exist.")
    check_folder(image_root, f"the folder of the images in {json_file!r}")
    data, encoding = read_coco(json_file)
    categories = sorted(data.get("categories") or [], key=lambda x: x["id"])
    annotations = data.get("annotations") or []
    metadata = {
        "json_file": json_file,
        "image_root": image_root,
        "has_labels": bool(categories and annotations),
        "image_dicts": functools.partial(_load, json_file, image_root, None),
    }
    if not categories:
        return metadata["image_dicts"], metadata
    used = {x.get("category_id") for x in annotations}
    data = {**data, "categories": categories, "annotations": annotations}
    path, changes = for_tools(json_file, data, encoding)
    error, notes = label_faults(json_file, data)
    metadata.update(
        json_file=path,
        evaluator_type="coco",
        label_error=error,
        label_notes=[*changes, *notes],
        thing_classes=[x["name"] for x in categories],
        classes_without_objects=[x["name"] for x in categories if x["id"] not in used],
        missing_fields=[x for x in _EVALUATION_FIELDS if any(x not in a for a in annotations)],
        counts_keypoints=all("num_keypoints" in a for a in annotations),
        **_keypoints(categories),
    )
    return functools.partial(_load, path, image_root, name, error), metadata


def _keypoints(categories):
    """Return the metadata of the keypoints that all categories share, if the json names any.

    Where an image is flipped, the left and the right one of a pair change places. The skeleton, if
    there is one, says which ones a picture connects.
    """
    lists = [list(x.get("keypoints") or ()) for x in categories]
    names = lists[0]
    if not names or any(x != names for x in lists):
        return {}
    pairs = [
        (x, _LEFT.sub(lambda match: _RIGHT[match[0]], x, count=1)) for x in names if _LEFT.search(x)
    ]
    pairs = [x for x in pairs if x[1] in names]
    lines = categories[0].get("skeleton") or ()  # counted from 1
    known = range(1, len(names) + 1)
    rules = [(names[a - 1], names[b - 1], _LINE) for a, b in lines if a in known and b in known]
    more = {"keypoint_connection_rules": rules} if rules else {}
    return {"keypoint_names": names, "keypoint_flip_map": pairs, **more}


def _load(json_file, image_root, name, error=""):
    """Read the dicts; without ``name`` only images, because detectron2 needs categories."""
    if error:
        raise ValueError(error)
    try:
        if name:
            dicts = load_coco_json(json_file, image_root, name)
        else:
            dicts = read_coco(json_file)[0]["images"]
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
