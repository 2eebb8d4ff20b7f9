"""Whether the same place of an image is found again in another view (Ding et al. 2021, Fig. 10)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from ..losses.precision import full_precision
from ..modeling.geometry.correspondence import corresponding_points, nearest_cells
from ..visualization.correspondence import draw_places
from .registry import ANALYSES, ANY_COUNT, SHARE, BackboneAnalysis, Outcome, choose_level, option
from .views import COLOURS, random_pair


@dataclass
class Match:
    """What a backbone finds in a pair of views, P cells in the first and Q in the second.

    Attributes:
        pair: the two :class:`~.views.View`.
        cells: (h, w) of each map.
        found: (P,) number of the cell of the second view that is found for each of the first.
        points: (P, 2) grid indices (x, y) of the right place in the second view.
        valid: (P,) bool, does the second view show it?
    """

    pair: tuple
    cells: tuple
    found: torch.Tensor
    points: torch.Tensor
    valid: torch.Tensor

    def distances(self):
        """Return (P,) how many cells each match is off, along the worse axis."""
        return cell_distances(self.found, self.points, self.cells[1])


@ANALYSES.register()
class Matching(BackboneAnalysis):
    """How often a cell finds its own place in another view.

    For each cell of one view, the most similar cell of the other by the cosine.
    """

    name, source = "matching", "DUPR Fig. 10"

    @dataclass
    class Options:
        """Options of the command line."""

        images: int = option(200, "images that are drawn from the data")
        level: str = option("", "feature map; default: that of stride 16, conv4_x")
        side: int = option(448, "side of the views in pixels")
        crop_scale: float = option(
            0.2, "smallest share of the image's area in a view", limits=SHARE
        )
        flip_prob: float = option(0.5, "chance that a view is mirrored")
        colours: str = option("moco", "changes of colour", COLOURS)
        pictures: int = option(2, "images in the figure", limits=ANY_COUNT)

    def measure(self, maps, samples):
        options = self.options
        level = choose_level(maps, options.level, stride=16)
        matches = [match_views(maps, level, random_pair(x, options)) for x in samples]
        return Outcome({"level": level, **accuracies(matches)}, drawable(matches, options.pictures))

    def draw(self, outcomes):
        return {"": draw_places({name: x.drawn for name, x in outcomes.items()})}


def match_views(maps, level, pair):
    """Return the :class:`Match` of two views by a backbone."""
    features = maps([x.pixels for x in pair], pair[0].pixels.shape[:2])[level]
    cells = (tuple(features.shape[2:]),) * 2
    points, valid = corresponding_points(pair[0].views, pair[1].views, *cells)
    return Match(pair, cells, most_similar(*features).cpu(), points[0], valid[0])


@full_precision
def most_similar(first, second):
    """Return (P,) the cell of the second map (C, h', w') with the highest cosine for each of first.

    Args:
        first, second: (C, h, w), (C, h', w').
    """
    first, second = (F.normalize(x.flatten(1), dim=0) for x in (first, second))
    return (first.T @ second).argmax(dim=1)


def cell_distances(found, points, cells):
    """Return (P,) how many cells matches are off, the larger of both axes.

    Args:
        found: (P,) numbers of cells, row by row.
        points: (P, 2) grid indices (x, y) of the right places.
        cells: (h, w) of the map that they are in.
    """
    right = nearest_cells(points[None], cells)[0]
    rows, columns = (torch.stack([x // cells[1], x % cells[1]]) for x in (found, right))
    return (rows - columns).abs().amax(dim=0)


def drawable(matches, count):
    """Return the first ``count`` matches whose views overlap."""
    return [x for x in matches if x.valid.any()][:count]


def chance(points, cells, within):
    """Return (P,) the share of cells that are at most ``within`` cells from each right place."""
    right = nearest_cells(points[None], cells)[0]
    shares = torch.ones(len(right), dtype=torch.float64)
    for place, count in ((right // cells[1], cells[0]), (right % cells[1], cells[1])):
        near = (place + within).clamp(max=count - 1) - (place - within).clamp(min=0) + 1
        shares *= near / count
    return shares


def accuracies(matches):
    """Return the percentage of cells within 0 and 1 cell of their place, and that of chance.

    Args:
        matches: list of :class:`Match`.

    Returns:
        dict: ``within_0``, ``within_1``, ``chance_0``, ``chance_1``; ``cells``: how many were
        looked for, ``images``: with at least one.
    """
    matches = [x for x in matches if x.valid.any()]
    if not matches:
        raise ValueError("no two views of an image overlap: raise --crop-scale.")
    off = torch.cat([x.distances()[x.valid] for x in matches]).numpy()
    numbers = {}
    for within in (0, 1):
        guess = [chance(x.points, x.cells[1], within)[x.valid].numpy() for x in matches]
        numbers[f"within_{within}"] = 100 * float((off <= within).mean())
        numbers[f"chance_{within}"] = 100 * float(np.concatenate(guess).mean())
    return {**numbers, "cells": len(off), "images": len(matches)}
