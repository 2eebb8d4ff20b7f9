"""Which images are closest by their whole feature maps (Ding et al. 2021, section 4.8)."""

import os
from dataclasses import dataclass

import numpy as np
from torch.nn import functional as F

from ..visualization.retrieval import draw_retrieval
from .embedding import Embedding, nearest, same_class_share
from .registry import ANALYSES, ANY_COUNT, BackboneAnalysis, Outcome, choose_level, option

FEATURES = ("map", "cells", "pooled")


@ANALYSES.register()
class Retrieval(BackboneAnalysis):
    """The nearest images by feature maps that are not pooled, so that places count.

    With labels, it also counts how many of the nearest have the class of the query. The class of an
    image is that of its largest object.
    """

    name, source = "retrieval", "DUPR section 4.8, Fig. 6 and 8"

    @dataclass
    class Options:
        """Options of the command line."""

        images: int = option(1000, "images that are drawn from the data")
        level: str = option("", "feature map; default: that of stride 32, conv5_x")
        side: int = option(224, "images are resized to squares of this side")
        neighbours: int = option(4, "of each query")
        queries: int = option(6, "in the figure", limits=ANY_COUNT)
        features: str = option("map", "the whole map, normalised ('map'), each cell normalised "
                               "('cells'), or the map's mean ('pooled')", FEATURES)  # fmt: skip

    def measure(self, maps, samples):
        options = self.options
        level = choose_level(maps, options.level, stride=32)
        rows, items, classes = [], [], []
        for sample in samples:
            features = maps(sample.image, self.size)[level][0]
            rows.append(vector(features, options.features).cpu().numpy())
            items.append(os.path.abspath(sample.item["file_name"]))
            classes.append(main_class(sample))
        if len(rows) < 2:
            raise ValueError("neighbours need at least two images.")
        names = tuple(samples.metadata.get("thing_classes", ()))
        embedding = Embedding(np.stack(rows), np.array(items), np.zeros((len(rows), 4)),
                              np.array(classes), names, level, "")  # fmt: skip
        queries = choose_queries(len(rows), options.queries, samples.seed)
        neighbours, cosines = nearest(embedding, options.neighbours)
        numbers = {"level": level, "images": len(rows), **class_shares(embedding, neighbours),
                   "mean_cosine": float(cosines[np.isfinite(cosines)].mean())}  # fmt: skip
        embedding.features = None  # may be large, and figures do not need it
        return Outcome(numbers, (embedding, queries, neighbours[queries], cosines[queries]))

    def draw(self, outcomes):
        return {"": draw_retrieval({name: x.drawn for name, x in outcomes.items()})}


def vector(features, kind):
    """Return one vector of a map (C, h, w), of length 1.

    Args:
        features: (C, h, w).
        kind: "map": all of it, normalised; "cells": each cell has the same weight, so that the
            product of two is the mean cosine of their cells; "pooled": its mean.
    """
    if kind == "pooled":
        return F.normalize(features.mean(dim=(1, 2)), dim=0)
    if kind == "cells":
        features = F.normalize(features, dim=0)
    return F.normalize(features.flatten(), dim=0)


def main_class(sample):
    """Return the class of the largest object of an image, -1 without objects."""
    if not len(sample.item.get("annotations") or ()) or not len(sample.boxes):
        return -1
    sides = sample.boxes[:, 2:] - sample.boxes[:, :2]
    return int(sample.classes[sides.prod(axis=1).argmax()])


def choose_queries(count, number, seed):
    """Return the rows of the images in the figure, sorted."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:number])


def class_shares(embedding, neighbours):
    """Return how many neighbours have the class of their query, in percent.

    Args:
        embedding: :class:`~.embedding.Embedding`.
        neighbours: (K, n) rows, -1 where there are fewer.

    Returns:
        dict: ``same_class_1`` of the nearest, ``same_class`` of all n, ``by_chance``; {} without
        labels.
    """
    known = embedding.classes >= 0
    if not known.any():
        return {}
    there = known[:, None] & (neighbours >= 0)
    same = embedding.classes[neighbours] == embedding.classes[:, None]
    nearest_share, by_chance = same_class_share(embedding)
    return {"same_class_1": 100 * nearest_share, "same_class": 100 * float(same[there].mean()),
            "by_chance": 100 * by_chance}  # fmt: skip
