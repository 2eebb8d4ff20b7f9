"""Predicting on many images, and writing what is found."""

import itertools
import os
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from ..utils.picture_files import write_picture
from ..visualization.objects import draw_instances, draw_segments
from .classes import ClassTable
from .images import read_images
from .records import Records

# In the output folder.
FOLDERS = ("pictures", "label_maps")
# What OpenCV writes; other files get .png behind their own name.
_WRITABLE = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@dataclass
class Summary:
    """What happened.

    Attributes:
        images: predicted on. broken: names of files that could not be read.
        found: objects at or above the threshold, by class.
        highest: the highest score of all, also below the threshold; None if there is none.
        full: images with as many detections as TEST.DETECTIONS_PER_IMAGE allows.
    """

    images: int = 0
    broken: list = field(default_factory=list)
    found: dict = field(default_factory=dict)
    highest: float = None
    full: int = 0


def predict_images(detector, root, names, output, threshold=0.5, batch_size=1, pictures=True):
    """Predict on images, and write ``predictions.json``, ``predictions.csv`` and pictures.

    Args:
        detector: :class:`~dense_ssl.prediction.models.Detector`.
        root, names: result of :func:`~.images.find_images`.
        output: folder to write to. Pictures are in ``pictures/``, the class of each pixel of a
            segmentor in ``label_maps/``.
        threshold: of the scores of detections; a segmentor has none.
        batch_size: images at a time. Smaller ones are padded to the largest, so scores change a
            little with it; the evaluation takes one at a time.
        pictures: write them.

    Returns:
        :class:`Summary`.
    """
    summary = Summary()
    table = ClassTable(detector.cfg, detector.labels)
    records = Records(root, table)
    stream = read_images(root, names, summary.broken, "Predicting")
    map_names, picture_names = _map_names(names), _picture_names(names)
    for batch in iter(lambda: list(itertools.islice(stream, batch_size)), []):
        outputs = detector.predict([image for _, image in batch])
        for (name, image), found in zip(batch, outputs):
            summary.images += 1
            if "instances" in found:
                found = _confident(found["instances"], threshold, summary, detector.cfg)
                records.add_instances(name, image, found)
                draw = draw_instances
            else:
                found = found["sem_seg"].argmax(dim=0).numpy().astype(np.uint8)
                records.add_segments(name, image, found)
                path = os.path.join(output, FOLDERS[1], map_names[name])
                write_picture(path, table.values_in_files(found))
                draw = draw_segments
            if pictures:
                path = os.path.join(output, FOLDERS[0], picture_names[name])
                write_picture(path, draw(image, found, table.labels)[:, :, ::-1])
    summary.found = records.counts
    records.write(output)
    return summary


def _map_names(names):
    """Return {name of an image: name of its label map}: .png for .jpg, or behind it if need be."""
    stems = Counter(os.path.splitext(x)[0] for x in names)
    return _unique({x: (os.path.splitext(x)[0] if stems[os.path.splitext(x)[0]] == 1 else x)
                    + ".png" for x in names})  # fmt: skip


def _picture_names(names):
    """Return {name of an image: name of its picture}: its own, or with .png behind it."""
    return _unique({x: x if x.lower().endswith(_WRITABLE) else f"{x}.png" for x in names})


def _unique(files):
    """Put .png behind the names of files that others have; own names come first."""
    taken, result = set(), {}
    for name in sorted(files, key=lambda x: (files[x] != x, x)):
        result[name] = files[name]
        while result[name] in taken:
            result[name] += ".png"
        taken.add(result[name])
    return result


def _confident(instances, threshold, summary, cfg):
    """Return the instances at or above the threshold; note the rest in the summary."""
    if len(instances):
        summary.highest = max(summary.highest or 0.0, float(instances.scores.max()))
    summary.full += len(instances) >= cfg.TEST.DETECTIONS_PER_IMAGE > 0
    return instances[instances.scores >= threshold]
