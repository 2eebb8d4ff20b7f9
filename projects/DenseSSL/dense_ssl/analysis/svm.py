"""Linear support vector machines on images with several classes (Goyal et al. 2019, VOC07)."""

import logging
import warnings
from dataclasses import dataclass

import numpy as np
from detectron2.evaluation.pascal_voc_evaluation import voc_ap

from .classify import parse_costs
from .health import unit
from .image_classification import ImageClassification, TwoSetOptions, label_matrix
from .registry import ANALYSES, option

logger = logging.getLogger(__name__)

# C of Goyal et al. 2019: 2^-19 to 2^-4 and 10^-7 to 10^-2; the best in 3-fold cross-validation.
GOYAL = tuple(sorted([2.0**k for k in range(-19, -3)] + [10.0**k for k in range(-7, -1)]))
_FOLDS = 3


@ANALYSES.register()
class SVM(ImageClassification):
    """Mean AP of one-vs-all linear SVMs, by the 11 points of VOC07.

    As in Goyal et al. (2019): features of length 1, squared hinge loss, positives weighted twice,
    C by cross-validation. An image that has difficult objects of a class alone does not count for
    it.
    """

    name, source = "svm", "DUPR Tables 1b and 4 (VOC cls.), Goyal et al. 2019"
    needs = "labels"
    panels = {"mAP": "mAP (%), 11 points"}

    @dataclass
    class Options(TwoSetOptions):
        """Options of the command line."""

        costs: str = option(
            "paper", "values of C, such as 0.01,0.1,1; paper: the 22 of Goyal et al."
        )

    def __init__(self, **options):
        super().__init__(**options)
        text = self.options.costs
        self.costs = list(GOYAL) if text == "paper" else parse_costs(text)

    def labels(self, items, metadata):
        return label_matrix(items, metadata)

    def score(self, train, train_labels, test, test_labels):
        train, test = (unit(x, np.float32) for x in (train, test))
        aps, costs = {}, {}
        for c in range(train_labels.shape[1]):
            own, truth = train_labels[:, c], test_labels[:, c]
            if min((own == 1).sum(), (own == -1).sum(), (truth == 1).sum()) == 0:
                continue  # nothing to learn, or nothing to find
            name = self.classes[c]
            model, costs[name] = fit_svm(train[own != 0], own[own != 0], self.costs)
            counts = truth != 0
            scores = model.decision_function(test[counts])
            aps[name] = 100 * average_precision(scores, truth[counts] == 1)
        if not aps:
            raise ValueError("--data and --test have no class with and without images in both.")
        left = train_labels.shape[1] - len(aps)
        if left:
            logger.warning("%d classes without images in --data or --test do not count", left)
        return {"mAP": float(np.mean(list(aps.values()))), "classes": aps, "costs": costs}


def fit_svm(features, labels, costs):
    """Return (scikit-learn's LinearSVC, its C): the C with the best AP in cross-validation.

    Args:
        features: (n, D). labels: (n,), 1 or -1. costs: values of C.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import cross_val_score
    from sklearn.svm import LinearSVC

    folds = min(_FOLDS, (labels == 1).sum(), (labels == -1).sum())
    best = costs[len(costs) // 2]
    models = {c: LinearSVC(C=c, class_weight={1: 2, -1: 1}, max_iter=2000, dual=True,
                           random_state=0) for c in costs}  # fmt: skip
    with warnings.catch_warnings():  # as the protocol has it: 2000 steps, whether they suffice
        warnings.simplefilter("ignore", ConvergenceWarning)
        if len(costs) > 1 and folds > 1:
            aps = [
                cross_val_score(x, features, labels, cv=folds, scoring="average_precision").mean()
                for x in models.values()
            ]
            best = costs[int(np.argmax(aps))]
        return models[best].fit(features, labels), best


def average_precision(scores, positive):
    """Return VOC07's average precision: the mean of the best precision from 11 recalls on.

    Args:
        scores: (n,). positive: bool (n,), at least one.
    """
    found = positive[np.argsort(-scores, kind="stable")]
    hits = np.cumsum(found)
    precision, recall = hits / np.arange(1, len(found) + 1), hits / hits[-1]
    return float(voc_ap(recall, precision, use_07_metric=True))
