"""Nearest neighbours on the features of whole images (Wu et al. 2018, instance discrimination)."""

from dataclasses import dataclass

import numpy as np

from .classifiers import count_votes, nearest, vote_weights
from .image_classification import ImageClassification, TwoSetOptions
from .registry import ANALYSES, option


@ANALYSES.register()
class NearestNeighbours(ImageClassification):
    """Top-1 accuracy of the weighted votes of the k nearest training images.

    The vote of an image is exp(cosine / 0.07).
    """

    name, source = "knn", "Wu et al. 2018, section 3.4"

    @dataclass
    class Options(TwoSetOptions):
        """Options of the command line."""

        neighbours: str = option("20,200", "k, one or several")

    def __init__(self, **options):
        super().__init__(**options)
        words = self.options.neighbours.split(",")
        if not all(x.strip().isdigit() and int(x) > 0 for x in words):
            raise ValueError(
                f"--neighbours is {self.options.neighbours!r}: numbers such as 20,200."
            )
        self.neighbours = sorted({int(x) for x in words})
        self.panels = {f"k{k}": f"top-1 accuracy (%), {k} neighbours" for k in self.neighbours}

    def score(self, train, train_labels, test, test_labels):
        most = min(self.neighbours[-1], len(train))
        cosines, indices = nearest(train, test, most)
        weights, classes = vote_weights(cosines.astype(np.float64)), train_labels[indices]
        count = train_labels.max() + 1
        found = {}
        for k in self.neighbours:
            votes = count_votes(weights[:, :k], classes[:, :k], count)
            found[f"k{k}"] = 100 * float((votes.argmax(axis=1) == test_labels).mean())
        return found
