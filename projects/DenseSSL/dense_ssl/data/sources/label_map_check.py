"""What label maps hold, and what is wrong or odd about them."""

import numpy as np
from detectron2.data import MetadataCatalog

from ...utils.progress import progress
from ..image_io import read_header
from .check_cache import cached
from .label_check import LabelCheck, Oddities
from .label_maps import IGNORED, LabelReader, check_label_size
from .source import evenly

_WITHOUT = "{count} of {total} label maps have no labelled pixel"


def check_label_maps(name, load, most=None):
    """Check the label maps of a registered data set, its metadata completed.

    Args:
        name: of the data set.
        load: function that lists its dicts, with ``sem_seg_file_name``.
        most: so many of them are read, evenly spaced; None: all.

    Returns:
        :class:`~.label_check.LabelCheck`; its classes count the label maps that show each.
    """
    try:
        dicts, reader = evenly(load(), most), LabelReader(name)
    except (OSError, ValueError) as error:
        return LabelCheck(error=str(error))
    meta = MetadataCatalog.get(name)
    settings = meta.stuff_classes, meta.get("label_values"), meta.get("ignored_values")
    files = [x[key] for x in dicts for key in ("file_name", "sem_seg_file_name")]
    return cached(
        LabelCheck, repr((name, settings)), files, lambda: _check(dicts, reader, meta.stuff_classes)
    )


def _check(dicts, reader, names):
    counts, found, faults = np.zeros(len(names), int), Oddities(), []
    for item in progress(dicts, "Checking label maps"):
        path = item["sem_seg_file_name"]
        try:
            labels = reader(path)
            header = read_header(item["file_name"])
            check_label_size(path, item["file_name"], header.height, header.width)
        except (OSError, ValueError) as error:  # a broken image is said elsewhere, too
            faults.append(str(error))
            continue
        classes = np.unique(labels)
        classes = classes[classes != IGNORED]
        counts[classes] += 1
        if not len(classes):
            found.add(_WITHOUT, repr(path))
    first = f"{len(faults)} of {len(dicts)} label maps have a fault, first: " * bool(faults[1:])
    return LabelCheck(
        error=first + faults[0] if faults else "",
        notes=found.notes(total=len(dicts)),
        counts={"label maps": len(dicts)},
        classes={str(x): int(n) for x, n in zip(names, counts)},
    )
