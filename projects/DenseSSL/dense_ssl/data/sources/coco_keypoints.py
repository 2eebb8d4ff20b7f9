"""Keypoints of COCO json files, in the form that detectron2 and pycocotools read alike."""

from ...utils.printable import shortened
from .coco_masks import are_finite

VISIBILITIES = (0, 1, 2)  # not labelled, hidden, visible


def clean_keypoints(points, count):
    """Return keypoints as all readers take them.

    Args:
        points: ``keypoints`` of an annotation; any value.
        count: number of keypoints of its class; 0 if the json does not say.

    Returns:
        list of x, y and visibility of each point; None if there are none: absent or empty.

    Raises:
        ValueError: they cannot be keypoints; the message continues "the keypoints of annotation 7
            ...".
    """
    if not points:
        return None
    if not isinstance(points, list):
        raise ValueError(
            f"are {shortened(points)}; they must be a list of numbers: x, y, visibility of each."
        )
    finite = are_finite(points)
    if finite is None:
        raise ValueError(
            f"are {shortened(points)}; they must be numbers: x, y, visibility of each."
        )
    if not finite:
        raise ValueError(f"have NaN or infinite numbers: {shortened(points)}.")
    if count and len(points) != 3 * count or len(points) % 3:
        raise ValueError(
            f"are {len(points)} numbers; they must be 3 for each point (x, y, visibility)"
            + (f", and its class has {count} points: {3 * count}." if count else ".")
        )
    odd = [x for x in points[2::3] if x not in VISIBILITIES]
    if odd:
        raise ValueError(
            f"have the visibility {odd[0]}; it is 0 (not labelled), 1 (hidden) or 2 (visible)."
        )
    return points


def fields_of_keypoints(points, count):
    """Return what an annotation needs of keypoints, where others of the json have them.

    Args:
        points: result of :func:`clean_keypoints`.
        count: number of keypoints of its class; 0 if the json does not say.

    Returns:
        dict of ``keypoints`` (of an object without any: all of them not labelled) and
        ``num_keypoints``, the number of those that are labelled; {} if there are none at all.
    """
    points = points or [0] * (3 * count)
    return {"keypoints": points, "num_keypoints": sum(map(bool, points[2::3]))} if points else {}


def counts_of_keypoints(data):
    """Return {id of a class: number of its keypoints} of a COCO json."""
    return {x["id"]: len(x.get("keypoints") or ()) for x in data["categories"]}


def has_keypoints(data):
    """Return True if an annotation of a COCO json has keypoints."""
    return any(x.get("keypoints") for x in data["annotations"])
