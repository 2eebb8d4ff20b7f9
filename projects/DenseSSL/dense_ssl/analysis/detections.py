"""What several detectors find on the same images (Roh et al. 2021, Fig. 3 and A2)."""

from dataclasses import dataclass

import numpy as np
import torch

from ..modeling.geometry.boxes import pairwise_iou
from ..prediction.loading import load_detector
from ..visualization.detections import as_instances, draw_detection_grid
from .registry import ANALYSES, ANY_COUNT, Analysis, option


@ANALYSES.register()
class Detections(Analysis):
    """Detections of several detectors side by side, and how well their boxes fit the objects.

    --weights are runs or checkpoints of detectors. There are no random weights: a detector that has
    learned nothing finds nothing.
    """

    name, source = "detections", "SCRL Fig. 3 and A2"
    needs = "boxes"

    @dataclass
    class Options:
        """Options of the command line."""

        images: int = option(50, "images that are drawn from the data")
        threshold: float = option(0.5, "lowest score of a detection")
        right_class: bool = option(False, "draw detections of the right class only, as the paper: "
                                   "that of the object which the box overlaps most")  # fmt: skip
        pictures: int = option(4, "images in the figure", limits=ANY_COUNT)

    def run(self, job):
        if not job.weights:
            raise ValueError("give detectors by --weights NAME=FILE.")
        samples = job.samples(self.options.images, self.needs)
        numbers, columns, items = {}, {}, []
        for name, path in job.weights.items():
            detector = load_detector(path, job.config_file, job.overrides)
            job.record(name, path, detector.cfg)
            check_classes(name, detector.labels, samples)
            counts, columns[name], items = [], [], []
            for sample in samples:
                found = self._detect(detector, sample)
                counts.append(count_found(found, as_instances(sample.item, found.image_size)))
                if len(items) < self.options.pictures:
                    items.append(sample.item)
                    columns[name].append(found)
            numbers[name] = summarise(counts)
        if not self.draws:
            return numbers, {}
        labels = samples.metadata.as_dict()
        if self.options.right_class:
            columns = {
                name: [right_ones(x, as_instances(y, x.image_size)) for x, y in zip(found, items)]
                for name, found in columns.items()
            }
        return numbers, {"": draw_detection_grid(labels, items, columns)}

    def _detect(self, detector, sample):
        found = detector(sample.image)
        if "instances" not in found:
            raise ValueError("a segmentor has no boxes; tools/predict.py draws what it finds.")
        found = found["instances"]
        return found[found.scores >= self.options.threshold]


def check_classes(name, labels, samples):
    """Raise if a detector's classes are not those of the data, in their order."""
    own, data = labels.get("thing_classes"), list(samples.metadata.get("thing_classes", ()))
    if own and list(own) != data:
        raise ValueError(f"--weights {name}: the classes of the detector, {list(own)[:5]}, are not "
                         f"those of {samples.entry!r}, {data[:5]}.")  # fmt: skip


def overlaps(found, truth):
    """Return the IoUs (K, G) of detections and objects, both detectron2's Instances."""
    pair = (x.pred_boxes.tensor.double()[None] for x in (found, truth))
    return pairwise_iou(*pair)[0].numpy()


def right_ones(found, truth):
    """Return the detections with the class of the object that they overlap most."""
    if not len(truth) or not len(found):
        return found[:0]
    best, index = torch.from_numpy(overlaps(found, truth)).max(dim=1)
    return found[(truth.pred_classes[index] == found.pred_classes) & (best > 0)]


def count_found(found, truth):
    """Return what one image adds to :func:`summarise`.

    Args:
        found, truth: Instances with ``pred_boxes`` and ``pred_classes``.

    Returns:
        (number of detections, list over objects of (best IoU of a detection of its class, number
        of further ones that overlap it by at least 0.5)).
    """
    iou = overlaps(found, truth)
    same = found.pred_classes.numpy()[:, None] == truth.pred_classes.numpy()[None]
    iou = np.where(same, iou, 0.0)
    objects = [(float(x.max(initial=0.0)), int((x >= 0.5).sum())) for x in iou.T]
    return len(found), [(best, max(close - 1, 0)) for best, close in objects]


def summarise(counts):
    """Return the numbers of a detector.

    Args:
        counts: results of :func:`count_found`.

    Returns:
        dict: ``detections`` of an image; ``found_50`` and ``found_75``, percentages of the objects
        with a detection of their class at that IoU; ``iou``, the mean IoU of the best detection of
        the objects found at 0.5 (None without one); ``duplicates``, further detections of each of
        them.
    """
    best = np.array([x for _, objects in counts for x in objects], np.float64).reshape(-1, 2)
    found = best[:, 0] >= 0.5
    return {
        "detections": float(np.mean([x for x, _ in counts])),
        "objects": len(best),
        "found_50": 100 * float(found.mean()),
        "found_75": 100 * float((best[:, 0] >= 0.75).mean()),
        "iou": float(best[found, 0].mean()) if found.any() else None,
        "duplicates": float(best[found, 1].mean()) if found.any() else None,
    }
