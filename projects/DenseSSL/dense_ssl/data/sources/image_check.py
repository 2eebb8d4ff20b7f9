"""What is in the image files of a data set, and what is wrong or odd about them."""

import dataclasses
from collections import Counter

from ...utils.progress import progress
from ..image_io import BrokenImageError, read_header, read_image
from .check_cache import cached
from .label_check import Oddities
from .source import evenly

_TURNED = "{count} of {checked} images are turned or mirrored by their EXIF orientation"
_DEEP = "{count} of {checked} images have more than 8 bits per value, and get 8"
_BROKEN = "{count} of {checked} images cannot be read"
_OTHER_SIZE = "{count} of {checked} images have another size than their labels say"
_DEEP_MODES = ("I", "F")  # what Pillow's names of modes with more than 8 bits begin with


@dataclasses.dataclass
class ImageCheck:
    """What image files hold; plain values, as json keeps them.

    Attributes:
        total, checked: images of the data set, and those looked at.
        decoded: every pixel was read, not only the headers.
        formats: {format: number}.
        smallest, largest: [width, height], by area; [] without an image.
        notes: what is odd, sentences without a full stop.
        errors: what stops fine-tuning, sentences likewise.
        broken: images that cannot be read.
    """

    total: int
    checked: int
    decoded: bool
    formats: dict = dataclasses.field(default_factory=dict)
    smallest: list = dataclasses.field(default_factory=list)
    largest: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)
    errors: list = dataclasses.field(default_factory=list)
    broken: int = 0


def check_images(dicts, most=None, decode=False, total=None):
    """Look at image files; a result of before is kept where no file changed.

    Args:
        dicts: detectron2's; ``width`` and ``height`` are compared where they are given.
        most: so many images, evenly spaced; None: all.
        decode: read all pixels; else the headers, and the ends of JPEGs.
        total: images of the data set; default: as many as ``dicts``.

    Returns:
        :class:`ImageCheck`.
    """
    chosen = evenly(dicts, most)
    total = total or len(dicts)
    sizes = [(x.get("width"), x.get("height")) for x in chosen]
    return cached(
        ImageCheck,
        repr((total, decode, sizes)),
        [x["file_name"] for x in chosen],
        lambda: _check(chosen, total, decode),
    )


def _check(dicts, total, decode):
    odd, faults, formats, sizes, broken = Oddities(), Oddities(), Counter(), [], 0
    for item in progress(dicts, "Checking images"):
        try:
            header = read_header(item["file_name"])
            if decode:
                read_image(item["file_name"])
        except BrokenImageError as error:
            broken += 1
            faults.add(_BROKEN, error)
            continue
        formats[header.format] += 1
        sizes.append([header.width, header.height])
        if header.is_turned:
            odd.add(_TURNED, item["file_name"])
        if header.mode[:1] in _DEEP_MODES:
            odd.add(_DEEP, item["file_name"])
        stated = [item.get("width"), item.get("height")]
        if all(isinstance(x, (int, float)) for x in stated) and stated != sizes[-1]:
            faults.add(_OTHER_SIZE, "{} with {} x {}, not {} x {}".format(
                item["file_name"], *sizes[-1], *stated))  # fmt: skip
    sizes.sort(key=lambda x: x[0] * x[1])
    return ImageCheck(
        total, len(dicts), decode, dict(formats.most_common()), *(sizes[:1] or [[]]),
        *(sizes[-1:] or [[]]), odd.notes(checked=len(dicts)), faults.notes(checked=len(dicts)),
        broken,
    )  # fmt: skip
