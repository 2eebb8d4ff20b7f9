"""COCO json files with their image folders."""

import contextlib
import functools
import os
import re

from detectron2.data.datasets import load_coco_json

from .check_cache import cached
from .coco_check import CocoCheck, check_coco
from .coco_json import corrected_copy, read_coco
from .folder import check_folder
from .paths import located, warn_outside
from .source import Source, evenly

# In the name of a keypoint: left, Left, LEFT, or l and L as a word (l_eye, eye.L, lEye).
_LEFT = re.compile(r"left|Left|LEFT|(?<![A-Za-z])[lL](?![A-Za-z])|^l(?=[A-Z])")
_RIGHT = {"left": "right", "Left": "Right", "LEFT": "RIGHT", "l": "r", "L": "R"}
# The colour of lines between keypoints, where detectron2 draws them.
_LINE = (102, 204, 255)
# The number of images checked to see whether the image folder is the right one.
_PROBES = 20


def coco_source(name, json_file, image_root):
    """Open a COCO json, which may lack annotations, or even categories, for pre-training.

    Args:
        name: of the data set, for which detectron2 stores metadata when it reads the labels.
        json_file, image_root: paths.

    Returns:
        :class:`~.source.Source`. Its labels' metadata also have ``has_labels``,
        ``classes_without_objects`` (names), ``label_error`` (or "") and ``label_notes``: what is
        odd (sentences). Faults of labels are raised where their dicts are read.
    """
    json_file, image_root = located(json_file), located(image_root)
    if not os.path.isfile(json_file):
        raise FileNotFoundError(f"the annotation file {json_file!r} does not exist.")
    check_folder(image_root, f"the folder of the images in {json_file!r}")
    return Source(
        images=functools.partial(list_coco_images, json_file, image_root),
        metadata={"image_root": image_root},
        labels=functools.partial(_labels, name, json_file, image_root),
        check=lambda most=None: checked_coco(json_file),
        sample=functools.partial(_sample, json_file, image_root),
    )


def checked_coco(json_file):
    """Return the :class:`~.coco_check.CocoCheck` of a json; that of before if it is unchanged."""
    with _readable(json_file):
        return cached(CocoCheck, json_file, [json_file], lambda: check_coco(json_file))


def _sample(json_file, image_root):
    check = checked_coco(json_file)
    dicts = [{**x, "file_name": os.path.join(image_root, x["file_name"])} for x in check.sample]
    return dicts, check.images


def _labels(name, json_file, image_root):
    """Return (function that reads the dicts, metadata)."""
    check = checked_coco(json_file)
    if not check.categories:
        return functools.partial(list_coco_images, json_file, image_root), {"has_labels": False}
    path = corrected_copy(json_file) if check.rewrite and not check.error else json_file
    metadata = {
        "json_file": path,
        "evaluator_type": "coco",
        "has_labels": bool(check.error or check.counts.get("objects")),
        "label_error": check.error,
        "label_notes": check.notes,
        "thing_classes": [x["name"] for x in check.categories],
        "classes_without_objects": [x for x, count in check.classes.items() if not count],
    }
    with _readable(json_file):
        # Roboflow's exports begin with a category without objects, the name of the project
        used = [x for x in check.categories if x.get("keypoints") or check.classes.get(x["name"])]
        metadata.update(_keypoints(used))
    return functools.partial(_load, path, image_root, name, check.error), metadata


@contextlib.contextmanager
def _readable(json_file):
    """Within it the content of a json is used; where it has another form, the error says so."""
    try:
        yield
    except (AssertionError, AttributeError, IndexError, KeyError, TypeError,
            UnicodeDecodeError) as error:  # fmt: skip
        raise ValueError(
            f"cannot read {json_file!r} as COCO annotations: {error!r}. A part of it has another "
            "form than COCO's, such as text in place of a list."
        ) from error


def _keypoints(categories):
    """Return the metadata of the keypoints that all categories share, if the json names any.

    Where an image is flipped, the left and the right one of a pair change places. The skeleton, if
    there is one, says which ones a picture connects.
    """
    lists = [list(x.get("keypoints") or ()) for x in categories]
    names = lists[0] if lists else []
    if not names or any(x != names for x in lists):
        return {}
    pairs = [
        (x, _LEFT.sub(lambda match: _RIGHT[match[0]], x, count=1)) for x in names if _LEFT.search(x)
    ]
    pairs = [x for x in pairs if x[1] in names]
    lines = categories[0].get("skeleton") or ()  # counted from 1
    lines = [x for x in lines if isinstance(x, (list, tuple)) and len(x) == 2]
    known = range(1, len(names) + 1)
    rules = [(names[a - 1], names[b - 1], _LINE) for a, b in lines if a in known and b in known]
    more = {"keypoint_connection_rules": rules} if rules else {}
    return {"keypoint_names": names, "keypoint_flip_map": pairs, **more}


def _load(json_file, image_root, name, error):
    """Read the dicts with their labels."""
    if error:
        raise ValueError(error)
    with _readable(json_file):
        dicts = load_coco_json(json_file, image_root, name)
    return _with_images(dicts, json_file, image_root)


def list_coco_images(json_file, image_root):
    """List the images; nothing else of the json needs to be right."""
    with _readable(json_file):
        images = read_coco(json_file)[0]["images"]
        dicts = [
            {
                "file_name": os.path.join(image_root, x["file_name"]),
                "image_id": x["id"],
                **{size: x[size] for size in ("height", "width") if size in x},
            }
            for x in sorted(images, key=lambda x: (isinstance(x["id"], str), x["id"]))
        ]
    return _with_images(dicts, json_file, image_root)


def _with_images(dicts, json_file, image_root):
    """Return ``dicts``; raise if none of some images is there."""
    probes = [x["file_name"] for x in evenly(dicts, _PROBES)]
    if not any(os.path.isfile(x) for x in probes):
        raise FileNotFoundError(
            f"none of the {len(probes)} images of {json_file!r} checked is in {image_root!r}; the "
            f"first one would be {probes[0]!r}. Give the folder that the names in the json are "
            "relative to."
        )
    warn_outside(dicts, image_root, json_file)
    return dicts
