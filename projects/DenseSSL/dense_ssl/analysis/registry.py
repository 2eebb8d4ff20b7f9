"""The analyses that tools/analyze.py runs; a new one is one file in this folder.

A file defines a class with its name, its options and what it computes::

    @ANALYSES.register()
    class Brightness(BackboneAnalysis):
        \"\"\"Mean of the feature map.\"\"\"

        name, source = "brightness", "ours"

        @dataclass
        class Options:
            images: int = option(100, "images that are drawn from the data")
            level: str = option("", "feature map; default: the last one")
            side: int = option(224, "images are resized to squares of this side")

        def measure(self, maps, samples):
            level = choose_level(maps, self.options.level, stride=32)
            found = [maps(x.image, self.size)[level].mean().item() for x in samples]
            return Outcome({"mean": sum(found) / len(found)}, found)

        def draw(self, outcomes):
            return {"": draw_bars({name: x.numbers["mean"] for name, x in outcomes.items()})}
"""

import importlib
import math
import pkgutil
from dataclasses import dataclass, field, fields

from fvcore.common.registry import Registry

from ..modeling.backbones import bottom_up_of, feature_shapes, require_feature

# Allowed values of an option: from, to.
SHARE, POSITIVE, ANY_COUNT = (1e-9, 1), (1e-9, math.inf), (0, math.inf)


def option(default, text, choices=None, limits=None):
    """Return a field of an analysis' Options.

    Args:
        default: its default, which also gives the type. text: what it means.
        choices: its allowed values; None: all.
        limits: (least, largest) of a number; None: whole numbers from 1, others from 0 to 1.
    """
    if limits is None and type(default) in (int, float):
        limits = (1, math.inf) if type(default) is int else (0, 1)
    return field(default=default, metadata={"help": text, "choices": choices, "limits": limits})


@dataclass
class Outcome:
    """What an analysis found for one backbone.

    Attributes:
        numbers: plain values for the json.
        drawn: what :meth:`BackboneAnalysis.draw` needs beside them.
    """

    numbers: dict
    drawn: object = None


class Analysis:
    """One analysis.

    Attributes:
        name: on the command line, and of the files.
        source: paper, equation and figure.
        needs: what each image must have: "images" (no labels), "boxes" or "masks"; "" if the
            analysis reads no images.
        takes_weights: whether --weights are used.
        Options: dataclass; its fields, made by :func:`option`, are the options of the command line.
    """

    name, source = "", ""
    needs = "images"
    takes_weights = True

    @dataclass
    class Options:
        """Options of the command line."""

    def __init__(self, **options):
        self.options = self.Options(**options)
        self._check()

    def _check(self):
        for item in fields(self.options):
            value, choices = getattr(self.options, item.name), item.metadata["choices"]
            if choices and value not in choices:
                raise ValueError(f"--{flag(item.name)} is {value!r}; it must be one of {choices}.")
            least, largest = item.metadata["limits"] or (-math.inf, math.inf)
            if item.metadata["limits"] and not least <= value <= largest:
                words = "above 0" if 0 < least < 1 else f"at least {least}"
                words += "" if largest == math.inf else f", and at most {largest}"
                raise ValueError(f"--{flag(item.name)} is {value}; it must be {words}.")

    @property
    def draws(self):
        """False if the user wants no figure: --pictures 0, or --queries 0."""
        counts = [getattr(self.options, x, 1) for x in ("pictures", "queries")]
        return min(counts) > 0

    def run(self, job):
        """Run on what the user named.

        Args:
            job: :class:`~.job.Job`.

        Returns:
            ({name of weights or of a part: numbers}, {figure: matplotlib Figure}). The figure ""
            gets the name of the analysis, others are added to it.
        """
        raise NotImplementedError


class BackboneAnalysis(Analysis):
    """An analysis of backbones, one after the other, on the same images."""

    @property
    def size(self):
        """(height, width) that images are resized to."""
        return (self.options.side, self.options.side)

    def run(self, job):
        samples = job.samples(self.options.images, self.needs)
        outcomes = {
            name: self.measure(maps, samples) for name, maps in job.backbones(samples, self.size)
        }
        figures = self.draw(outcomes) if self.draws else {}
        return {name: x.numbers for name, x in outcomes.items()}, figures

    def measure(self, maps, samples):
        """Return the :class:`Outcome` of one backbone.

        Args:
            maps: :class:`~dense_ssl.prediction.models.FeatureMaps`.
            samples: :class:`~.samples.Samples`. What is drawn for an image comes from its own
                generator, so that all backbones see the same views, boxes and points.
        """
        raise NotImplementedError

    def draw(self, outcomes):
        """Return {figure: matplotlib Figure} for {name of weights: :class:`Outcome`}."""
        raise NotImplementedError


ANALYSES = Registry("ANALYSIS")
ANALYSES.__doc__ = "Classes of analyses; the names of the command line are their ``name``."


def all_analyses():
    """Return {name: class} of the analyses in this folder, and of those registered elsewhere."""
    package = importlib.import_module(__package__)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{__package__}.{module.name}")
    return {kind.name: kind for _, kind in sorted(ANALYSES, key=lambda x: x[1].name)}


def flag(name):
    """'min_side' -> 'min-side'."""
    return name.replace("_", "-")


def choose_level(maps, level, stride):
    """Return the name of a feature map.

    Args:
        maps: :class:`~dense_ssl.prediction.models.FeatureMaps`.
        level: name from the user; "": of the network below a pyramid, the map of ``stride`` pixels,
            or the one closest to it.
        stride: 32 is conv5_x of the papers, 16 is conv4_x.
    """
    if level:
        require_feature(feature_shapes(maps.backbone), level, "--level")
        return level
    shapes = bottom_up_of(maps.backbone).output_shape()
    # of equal strides the last one: later layers of a plain transformer
    names = list(shapes)[::-1]
    return min(names, key=lambda x: abs(shapes[x].stride - stride))
