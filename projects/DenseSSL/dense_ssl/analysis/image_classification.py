"""What the classifications of whole images by fixed features have in common."""

import os
import tempfile
from dataclasses import dataclass

import numpy as np

from ..data.finetune.region_mapper import counted
from ..visualization.classification import draw_scores
from .image_features import choose_levels, extract
from .registry import BackboneAnalysis, option
from .samples import Samples


@dataclass
class ImageOptions:
    """Options of all of them."""

    images: int = option(20000, "images that are drawn from the data, and from --test")
    levels: str = option("", "feature maps, such as res4,res5:2 (averaged to 2 x 2 cells); all: "
                         "all maps from the stem on; default: the last one")  # fmt: skip
    side: int = option(224, "side of the centre crop, in pixels")


@dataclass
class TwoSetOptions(ImageOptions):
    """Options of those that have test images of their own."""

    test: str = option("", "entry of DATASETS of the test images")


class ImageClassification(BackboneAnalysis):
    """Features of all images once for each backbone, then a classifier on each level.

    Attributes:
        has_test: whether there are test images of their own.
        panels: {number: title in the figure}.
    """

    needs = "class"
    has_test = True
    panels = {}

    def run(self, job):
        options = self.options
        train = job.samples(options.images, self.needs)
        self.classes, self.seed = class_names(train.metadata), job.seed
        test = self._test_samples() if self.has_test else None
        results = {}
        for name, maps in job.backbones(train, self.size):
            levels = choose_levels(maps, options.levels)
            with tempfile.TemporaryDirectory(prefix="features_") as folder:
                sets = [self._extract(maps, x, levels, folder, i)
                        for i, x in enumerate((train, test)) if x is not None]  # fmt: skip
                results[name] = {
                    str(level): self.score(*(y for features, labels in sets
                                             for y in (features[level], labels)))
                    for level in levels
                }  # fmt: skip
                del sets  # before their files
        return results, {"": draw_scores(results, self.panels)}

    def _test_samples(self):
        if not self.options.test:
            raise ValueError("give the test images by --test ENTRY.")
        test = Samples(self.options.test, self.options.images, self.seed, self.needs, "--test")
        found = class_names(test.metadata)
        if found != self.classes:
            raise ValueError(f"--data has the classes {self.classes}, but --test {found}.")
        return test

    def _extract(self, maps, samples, levels, folder, number):
        folder = os.path.join(folder, str(number))
        os.makedirs(folder)
        features, items = extract(maps, samples, levels, self.options.side, folder)
        return features, self.labels(items, samples.metadata)

    def labels(self, items, metadata):
        """Return what is to be found for detectron2's dicts: here (n,), the class of each."""
        return np.array([x["category_id"] for x in items], np.int64)

    def score(self, train, train_labels, test, test_labels):
        """Return {number: value} of one level.

        Args:
            train: (n, D). train_labels: (n, ...). test: (m, D). test_labels: (m, ...).
        """
        raise NotImplementedError


def class_names(metadata):
    """Return the names of the classes of a data set."""
    return list(metadata.get("image_classes") or metadata.get("thing_classes") or ())


def label_matrix(items, metadata):
    """Return which classes images have: int8 (n, C), 1 or -1; 0 where it does not count.

    As in PASCAL VOC, a class does not count for an image that has difficult objects of it alone.

    Args:
        items: dicts of :class:`~.samples.Samples`, with ``category_id`` or ``annotations``.
        metadata: of the data set.
    """
    names = class_names(metadata)
    found = np.full((len(items), len(names)), -1, np.int8)
    for row, item in zip(found, items):
        if "category_id" in item:
            row[item["category_id"]] = 1
        else:
            objects = [x for x in item["annotations"] if not x.get("iscrowd", 0)]
            row[[x["category_id"] for x in objects if x.get("difficult", 0)]] = 0
            row[[x["category_id"] for x in counted(item)]] = 1
    return found
