"""Masks of COCO json files, in the form that detectron2 and pycocotools read alike."""

import math

from ...utils.printable import shortened

# Numbers of the shortest polygon: three points.
_SHORTEST = 6
# COCO's compressed counts: characters from "0" on, five bits in each, and one that says "go on".
_FIRST, _BITS, _MORE, _SIGN = 48, 5, 0x20, 0x10


def clean_mask(mask, height, width):
    """Return a mask as all readers take it.

    Args:
        mask: ``segmentation`` of an annotation; any value.
        height, width: of the image.

    Returns:
        list of polygons of at least three points, an RLE, or None if there is no mask: it is
        absent, empty, has no polygon of three points, or no pixel.

    Raises:
        ValueError: the mask cannot be that of an object in this image; the message continues
            "the segmentation of annotation 7 ...".
    """
    if isinstance(mask, dict) and mask:
        return _clean_rle(mask, height, width)
    if not mask:
        return None
    if not isinstance(mask, list):
        raise ValueError(f"is {shortened(mask)}; it must be a list of polygons, or an RLE.")
    if not any(isinstance(x, (list, dict)) for x in mask):
        mask = [mask]  # the numbers of one polygon
    return [x for x in mask if _is_polygon(x)] or None


def _is_polygon(points):
    """Return False for a polygon of too few numbers, or an odd one; raise if it is none."""
    if not isinstance(points, list):
        raise ValueError(
            f"has {shortened(points)} in its list; each entry must be a polygon: numbers x, y, x, "
            "y and so on. Several RLEs of one object must be one."
        )
    finite = are_finite(points)
    if finite is None:
        raise ValueError(
            f"has the polygon {shortened(points)}; it must be numbers: x, y, x, y and so on."
        )
    if not finite:
        raise ValueError(f"has NaN or infinite numbers: {shortened(points)}.")
    return len(points) >= _SHORTEST and len(points) % 2 == 0


def are_finite(values):
    """Return whether all values of a list are finite numbers; None if some are no numbers."""
    try:
        return all(map(math.isfinite, values))
    except (TypeError, OverflowError):
        return None


def _clean_rle(mask, height, width):
    try:
        size = [int(x) for x in mask["size"]]
        counts = mask["counts"]
        runs = _runs(counts) if isinstance(counts, str) else [int(x) for x in counts]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"is {shortened(mask)}; an RLE has a size, height and width, and counts: text, or a "
            "list of numbers."
        ) from error
    if not any(runs[1::2]):
        return None
    if size != [height, width]:
        hint = ": they are exchanged" if size == [width, height] else ""
        raise ValueError(
            f"is an RLE of the size {size}, but its image has the height and width "
            f"{[height, width]}{hint}."
        )
    if min(runs) < 0 or sum(runs) != height * width:
        raise ValueError(
            f"is an RLE whose counts add up to {sum(runs)}, not to {height} x {width} pixels: it "
            "is damaged."
        )
    return {"size": size, "counts": counts if isinstance(counts, str) else runs}


def _runs(text):
    """Return the lengths of the runs in COCO's compressed counts, as pycocotools reads them.

    pycocotools itself does not check them in all of its versions, and then writes outside its
    memory.
    """
    runs, value, place = [], 0, 0
    for sign in text.encode("latin-1"):
        digit = sign - _FIRST
        if not 0 <= digit < 2 * _MORE:
            raise ValueError("no compressed counts")
        value |= (digit & (_MORE - 1)) << place
        place += _BITS
        if digit & _MORE:
            continue
        if digit & _SIGN:
            value -= 1 << place
        # from the fourth on, a count is the difference to the last but one
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = place = 0
    if place:
        raise ValueError("the last count is cut off")
    return runs
