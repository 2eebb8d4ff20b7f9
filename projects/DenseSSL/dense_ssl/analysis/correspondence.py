"""Whether cells are found again in a mirrored, recoloured image (Islam et al. 2022, sec. 4.6)."""

from dataclasses import dataclass

from ..visualization.correspondence import draw_lines
from .matching import accuracies, drawable, match_views
from .registry import ANALYSES, ANY_COUNT, SHARE, BackboneAnalysis, Outcome, choose_level, option
from .views import COLOURS, make_view, random_view, whole


@ANALYSES.register()
class Correspondence(BackboneAnalysis):
    """How often a cell finds its place in the image mirrored and coloured differently.

    The right cell of column x is column w - 1 - x of the mirrored image.
    """

    name, source = "correspondence", "LC-loss section 4.6, Fig. 4 and 5"

    @dataclass
    class Options:
        """Options of the command line."""

        images: int = option(500, "images that are drawn from the data")
        level: str = option("", "feature map; default: that of stride 32, conv5_x")
        side: int = option(224, "images are resized to squares of this side")
        transform: str = option("flip", "of the second view: 'flip' (Fig. 5), or 'crop' with a "
                                "random flip (Fig. 4)", ("flip", "crop"))  # fmt: skip
        crop_scale: float = option(
            0.2, "smallest share of the image's area, for 'crop'", limits=SHARE
        )
        colours: str = option("byol", "changes of colour", COLOURS)
        pictures: int = option(3, "images in the figure", limits=ANY_COUNT)

    def measure(self, maps, samples):
        level = choose_level(maps, self.options.level, stride=32)
        kinds = {"both": (True, self.options.colours), "moved": (True, "none"),
                 "coloured": (False, self.options.colours)}  # fmt: skip
        matches = {kind: [] for kind in kinds}
        for sample in samples:
            state = sample.rng.bit_generator.state
            for kind, (moved, colours) in kinds.items():
                sample.rng.bit_generator.state = state  # the same crop and colours in all
                matches[kind].append(match_views(maps, level, self._pair(sample, moved, colours)))
        both = accuracies(matches["both"])
        numbers = {
            "level": level, "accuracy": both["within_0"], "chance": both["chance_0"],
            "within_1": both["within_1"],
            f"{self.options.transform}_only": accuracies(matches["moved"])["within_0"],
            "colours_only": accuracies(matches["coloured"])["within_0"],
            "cells": both["cells"], "images": both["images"],
        }  # fmt: skip
        return Outcome(numbers, drawable(matches["both"], self.options.pictures))

    def _pair(self, sample, moved, colours):
        """Return the image as it is, and its transformed version."""
        image, side, rng = sample.image, self.options.side, sample.rng
        first = make_view(image, whole(image), side, False, "none", rng)
        if moved and self.options.transform == "crop":
            scale = (self.options.crop_scale, 1.0)
            return first, random_view(image, side, scale, 0.5, colours, rng)
        return first, make_view(image, whole(image), side, moved, colours, rng)

    def draw(self, outcomes):
        return {"": draw_lines({name: x.drawn for name, x in outcomes.items()})}
