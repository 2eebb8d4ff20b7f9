"""The probe: which classes of labelled regions a frozen backbone separates, in seconds."""

import logging

import numpy as np
from detectron2.utils import comm

from ..modeling.backbones import bottom_up_of, feature_shapes, require_feature
from .classifiers import classify
from .health import effective_rank, singular_values
from .labelled_regions import read_regions
from .region_features import RegionFeatures, SquareImages, gathered

logger = logging.getLogger(__name__)

# Regions for the effective rank, which is at most this number.
_RANK_REGIONS = 512
_KEYS = ("TEST.PROBE.TRAIN", "TEST.PROBE.TEST")


class RegionProbe:
    """Classifies the regions of a test set by those of a training set.

    Every process must build and call it: the images are shared out. It draws no random number and
    changes nothing of the backbone.

    Attributes:
        train, test: :class:`~.labelled_regions.LabelledRegions`.
        levels: names of the feature maps.
    """

    def __init__(self, node, backbone, mean, std, input_format):
        """
        Args:
            node: TEST.PROBE.
            backbone: of detectron2, whose feature maps the node names.
            mean, std: (3, 1, 1) tensors on the device of the backbone.
            input_format: INPUT.FORMAT.
        """
        self.node = node
        self.levels = probed_levels(node, backbone)
        self._pixels = mean, std
        sizes = node.IMAGES, node.REGIONS, node.SIDE // node.CELL
        self.train, self.test = (
            read_regions(getattr(node, key.rpartition(".")[2]), key, *sizes) for key in _KEYS
        )
        check_same_classes(self.train, self.test)
        self._images = [
            SquareImages(x.images, node.SIDE, input_format) for x in (self.train, self.test)
        ]

    def __call__(self, backbone):
        """Return {name: number} in the main process, {} elsewhere.

        ``linear`` and ``knn``, class accuracies in percent, of all levels joined; with several
        levels ``<level>/linear`` and ``<level>/knn`` of each; ``<level>/rank``: the effective rank
        of the features of test regions.
        """
        features = RegionFeatures(backbone, self.levels, *self._pixels)
        features.estimate_norms(self._images[0])
        train, classes = gathered(*features(self._images[0]))
        test, truth = gathered(*features(self._images[1]))
        if not comm.is_main_process():
            return {}
        result = self._classify(list(train.values()), classes, list(test.values()), truth)
        for level in self.levels:
            if len(self.levels) > 1:
                found = self._classify([train[level]], classes, [test[level]], truth)
                result.update({f"{level}/{k}": x for k, x in found.items()})
            result[f"{level}/rank"] = _rank(test[level])
        return result

    def _classify(self, train, classes, test, truth):
        train, test = (np.concatenate(x, axis=1) for x in (train, test))
        return classify(train, classes, test, truth, self.node.RIDGE, self.node.NEIGHBOURS)

    def describe(self):
        """Return what is classified, as a sentence."""
        count = len(np.unique(self.train.classes))
        return (
            f"{len(self.train.classes)} {self.train.kind} of {len(self.train.images)} images, "
            f"tested on {len(self.test.classes)} of {len(self.test.images)}; {count} classes, by "
            f"chance {100 / count:.1f} %; {' + '.join(self.levels)} at {self.node.SIDE} pixels"
        )


def probed_levels(node, backbone):
    """Return the names of the feature maps; raise if one does not exist or does not fit SIDE."""
    shapes = feature_shapes(backbone)
    below = bottom_up_of(backbone).output_shape()
    levels = list(node.FEATURES) or [max(below, key=lambda x: below[x].stride)]
    for level in levels:
        require_feature(shapes, level, "TEST.PROBE.FEATURES")
    stride = max(*(x.stride for x in below.values()), backbone.size_divisibility)
    if node.SIDE % stride:
        raise ValueError(
            f"TEST.PROBE.SIDE is {node.SIDE}; this backbone needs a multiple of {stride}, such as "
            f"{max(round(node.SIDE / stride), 1) * stride}."
        )
    return levels


def check_same_classes(train, test):
    """Raise unless two :class:`~.labelled_regions.LabelledRegions` have the same classes."""
    if (train.kind, train.class_names) != (test.kind, test.class_names):
        raise ValueError(
            f"TEST.PROBE.TRAIN has {train.kind} of {len(train.class_names)} classes "
            f"({', '.join(train.class_names[:4])}, ...), TEST.PROBE.TEST {test.kind} of "
            f"{len(test.class_names)} ({', '.join(test.class_names[:4])}, ...): name two data sets "
            "with the same classes in the same order."
        )


def _rank(features):
    if not np.isfinite(features).all():
        return float("nan")
    step = -(-len(features) // _RANK_REGIONS)
    return effective_rank(singular_values(features[::step]))
