"""Logistic regression on the features of whole images: the quick form of linear evaluation."""

import logging
from dataclasses import dataclass

import numpy as np

from .classifiers import class_accuracy, logistic_regression
from .image_classification import ImageClassification, TwoSetOptions
from .registry import ANALYSES, option

logger = logging.getLogger(__name__)

_HELD_OUT = 5  # one image of a class in this many


@ANALYSES.register()
class Classify(ImageClassification):
    """Accuracy of logistic regression on images.

    The strength of the regularisation is the best one on a fifth of the training images. The
    protocols of the papers, which learn by SGD from random crops, are in
    configs/finetune/Image-Classification.
    """

    name, source = "classify", "ours; DUPR Tables 1b and 4 and MoCo by configs/finetune"
    panels = {"top1_accuracy": "top-1 accuracy (%)"}

    @dataclass
    class Options(TwoSetOptions):
        """Options of the command line."""

        costs: str = option("0.001,0.01,0.1,1", "values of C, the inverse strength")

    def __init__(self, **options):
        super().__init__(**options)
        self.costs = parse_costs(self.options.costs)

    def score(self, train, train_labels, test, test_labels):
        cost = self._choose(train, train_labels)
        predicted = logistic_regression(train, train_labels, cost).predict(test)
        return {
            "top1_accuracy": 100 * float((predicted == test_labels).mean()),
            "class_accuracy": class_accuracy(predicted, test_labels),
            "majority": 100 * float(np.bincount(test_labels).max() / len(test_labels)),
            "cost": cost,
        }

    def _choose(self, features, labels):
        """Return the cost with the best accuracy on held-out images."""
        held = held_out(labels)
        if len(self.costs) == 1:
            return self.costs[0]
        if not held.any():
            logger.warning("no class has %d images, so C is %g", _HELD_OUT, self.costs[0])
            return self.costs[0]
        known, others = (features[~held], labels[~held]), (features[held], labels[held])
        scores = [logistic_regression(*known, c).score(*others) for c in self.costs]
        return self.costs[int(np.argmax(scores))]


def held_out(labels):
    """Return a mask (n,): every fifth image of each class, in an order drawn with seed 0."""
    mask, order = np.zeros(len(labels), bool), np.random.default_rng(0).permutation(len(labels))
    for c in np.unique(labels):
        mask[order[labels[order] == c][_HELD_OUT - 1 :: _HELD_OUT]] = True
    return mask


def parse_costs(text):
    """'0.1,1' -> [0.1, 1.0]."""
    try:
        costs = sorted({float(x) for x in text.split(",")})
    except ValueError:
        costs = [0]
    if min(costs) <= 0:
        raise ValueError(f"--costs is {text!r}: numbers above 0, such as 0.1,1.")
    return costs
