"""Few-shot classification of images by fixed features (LC-loss, Islam et al. 2022, Table 7)."""

import logging
from dataclasses import dataclass

import numpy as np

from ..utils.progress import progress
from .health import unit
from .image_classification import ImageClassification, ImageOptions
from .registry import ANALYSES, option

logger = logging.getLogger(__name__)


@ANALYSES.register()
class FewShot(ImageClassification):
    """Accuracy of 5-way 5-shot episodes by logistic regression, with its 95 % interval.

    From the paper: fixed features, 5 classes with 5 images each, logistic regression, the mean of
    600 episodes. Not in the paper: 15 query images of each class, features of length 1 and C = 1,
    which are those of Tian et al. (2020).
    """

    name, source = "fewshot", "LC-loss Table 7"
    has_test = False
    panels = {"accuracy": "accuracy (%), mean of episodes"}

    @dataclass
    class Options(ImageOptions):
        """Options of the command line."""

        ways: int = option(5, "classes of an episode")
        shots: int = option(5, "labelled images of each class")
        queries: int = option(15, "images of each class that are classified")
        episodes: int = option(600, "episodes, each with its own classes and images")

    def __init__(self, **options):
        super().__init__(**options)
        for name, least in (("ways", 2), ("shots", 1), ("queries", 1), ("episodes", 2)):
            if getattr(self.options, name) < least:
                value = getattr(self.options, name)
                raise ValueError(f"--{name} is {value}; it must be at least {least}.")

    def score(self, features, labels):
        node = self.options
        features, accuracies = unit(features, np.float32), []
        drawn = draw_episodes(labels, node.ways, node.shots, node.queries, node.episodes, self.seed)
        for train, test in progress(drawn, "Episodes"):
            accuracies.append(episode_accuracy(features[train], features[test]))
        mean, half = interval(100 * np.array(accuracies))
        return {"accuracy": mean, "interval": half, "chance": 100 / node.ways}


def draw_episodes(labels, ways, shots, queries, episodes, seed):
    """Draw the images of each episode.

    Args:
        labels: (n,), the class of each image. seed: the same episodes for each backbone.

    Returns:
        list of (ways, shots) and (ways, queries) indices of images.
    """
    rng = np.random.default_rng(seed)
    by_class = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    enough = [x for x in by_class if len(x) >= shots + queries]
    if len(enough) < ways:
        raise ValueError(
            f"{len(enough)} of {len(by_class)} classes have the {shots + queries} images of an "
            f"episode (--shots {shots} and --queries {queries}), but --ways is {ways}."
        )
    if len(enough) < len(by_class):
        logger.warning("%d classes with fewer than %d images are left out",
                       len(by_class) - len(enough), shots + queries)  # fmt: skip
    drawn = []
    for _ in range(episodes):
        chosen = rng.choice(len(enough), ways, replace=False)
        images = np.stack([rng.choice(enough[c], shots + queries, replace=False) for c in chosen])
        drawn.append((images[:, :shots], images[:, shots:]))
    return drawn


def episode_accuracy(train, test):
    """Return the share of the queries (ways, queries, D) that images (ways, shots, D) classify."""
    from sklearn.linear_model import LogisticRegression

    truths = [np.repeat(np.arange(len(x)), x.shape[1]) for x in (train, test)]
    model = LogisticRegression(C=1.0, max_iter=1000)
    model.fit(train.reshape(len(truths[0]), -1), truths[0])
    return model.score(test.reshape(len(truths[1]), -1), truths[1])


def interval(values):
    """Return (mean, half of its 95 % interval) of n values: 1.96 standard errors."""
    return float(values.mean()), float(1.96 * values.std(ddof=1) / len(values) ** 0.5)
