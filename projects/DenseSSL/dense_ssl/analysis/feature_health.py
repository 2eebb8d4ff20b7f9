"""Whether features are alive: spectrum, rank, alignment and uniformity of every level."""

import os
from dataclasses import dataclass

import numpy as np

from ..checkpoint.formats import read_checkpoint
from ..modeling.backbones import feature_shapes, require_feature
from ..utils.metrics_file import read_records
from ..visualization.health import draw_health
from .health import alignment, effective_rank, singular_values, spread, uniformity
from .registry import ANALYSES, SHARE, BackboneAnalysis, Outcome, option
from .views import COLOURS, random_view


@ANALYSES.register()
class FeatureHealth(BackboneAnalysis):
    """Spectrum, effective rank, spread, alignment and uniformity of the features of each level.

    Two random views of each image; a vector is the mean of a map, or one of its cells.
    """

    name = "health"
    source = "Wang & Isola 2020 (alignment, uniformity), Roy & Vetterli 2007 (effective rank)"

    @dataclass
    class Options:
        """Options of the command line."""

        images: int = option(200, "images that are drawn from the data")
        levels: str = option("", "feature maps, such as res4,res5; default: all")
        side: int = option(224, "side of the views in pixels")
        cells: int = option(4, "cells of each map, drawn by the seed")
        crop_scale: float = option(
            0.2, "smallest share of the image's area in a view", limits=SHARE
        )
        colours: str = option("byol", "changes of colour", COLOURS)

    def measure(self, maps, samples):
        shapes = feature_shapes(maps.backbone)
        levels = [x for x in self.options.levels.split(",") if x] or list(shapes)
        for level in levels:
            require_feature(shapes, level, "--levels")
        vectors = [self._vectors(maps, sample, levels) for sample in samples]
        numbers = {x: level_health(*(np.stack(y) for y in zip(*(v[x] for v in vectors))))
                   for x in levels}  # fmt: skip
        return Outcome({"levels": numbers, **angles_of(maps.file)}, numbers)

    def _vectors(self, maps, sample, levels):
        """Return {level: (mean of view 1, mean of view 2, cells of view 1 (cells, C))}."""
        options, rng = self.options, sample.rng
        views = [random_view(sample.image, options.side, (options.crop_scale, 1.0), 0.5,
                             options.colours, rng).pixels for _ in range(2)]  # fmt: skip
        places = rng.random(options.cells)  # the same ones for all backbones
        found, features = {}, maps(views, self.size)
        for level in levels:
            first, second = features[level].flatten(2).double().cpu().numpy()
            cells = first[:, (places * first.shape[1]).astype(int)].T
            found[level] = first.mean(axis=1), second.mean(axis=1), cells
        return found

    def draw(self, outcomes):
        return {"": draw_health({name: x.drawn for name, x in outcomes.items()})}


def level_health(first, second, cells):
    """Return the numbers of one level.

    Args:
        first, second: (n, C), the vectors of both views of each image.
        cells: (n, k, C), cells of the first views.

    Returns:
        dict: ``spectrum`` (singular values of ``first`` over the largest), ``rank``, ``cell_rank``,
        ``spread``, ``cell_spread``, ``alignment``, ``uniformity``; ``most``: the highest rank that
        so many images and channels allow.
    """
    values = singular_values(first)
    cells = cells.reshape(-1, cells.shape[-1])
    return {
        "rank": effective_rank(values),
        "cell_rank": effective_rank(singular_values(cells)),
        "most": min(len(first) - 1, first.shape[1]),
        "spread": spread(first),
        "cell_spread": spread(cells),
        "alignment": alignment(first, second),
        "uniformity": uniformity(first),
        "spectrum": (values / max(values[0], 1e-300)).tolist(),
    }


def angles_of(file):
    """Return the angle of each stage from its start that the run of a weights file has logged.

    Args:
        file: weights in the folder of a pre-training; any other file has no angles.

    Returns:
        {"angles": {stage: degrees}, "angles_iteration": n}, of the last report before the file was
        written; {} without one.
    """
    metrics = os.path.join(os.path.dirname(file), "metrics.json")
    if not file or not os.path.isfile(metrics):
        return {}
    data = read_checkpoint(file)
    iteration = data.get("iteration", (data.get("dense_ssl") or {}).get("iteration"))
    found = {}
    for record in read_records(metrics) if iteration is not None else ():
        angles = {k[len("backbone/") : -len("_angle")]: x for k, x in record.items()
                  if k.startswith("backbone/") and k.endswith("_angle")}  # fmt: skip
        if angles and record["iteration"] <= iteration:
            found = {"angles": angles, "angles_iteration": record["iteration"]}
    return found
