"""The probe of labelled boxes or cells for finished weights: what TEST.PROBE logs in training."""

from dataclasses import dataclass

from ..config.probe import probe_defaults
from ..visualization.classification import draw_scores
from .region_probe import RegionProbe, probed_levels
from .registry import ANALYSES, POSITIVE, BackboneAnalysis, option

_PANELS = {"linear": "class accuracy (%), ridge regression", "knn": "class accuracy (%), k-NN"}
_DEFAULT = probe_defaults()


@ANALYSES.register()
class Regions(BackboneAnalysis):
    """Class accuracy on labelled boxes or cells, by ridge regression and by nearest neighbours.

    --data are the training images. Batch norm statistics are estimated on them for all weights, as
    in the online probe.
    """

    name, source = "regions", "ours, after SCRL's appendix C"
    needs = "images"

    @dataclass
    class Options:
        """Options of the command line; see the keys of TEST.PROBE."""

        test: str = option("", "entry of DATASETS of the test images")
        images: int = option(_DEFAULT.IMAGES, "images of each, evenly spaced")
        levels: str = option("", "feature maps, such as res4,res5; default: the last one")
        side: int = option(_DEFAULT.SIDE, "images are resized to squares of this side")
        regions: int = option(_DEFAULT.REGIONS, "at most so many boxes or cells of each")
        cell: int = option(_DEFAULT.CELL, "label maps: side of a cell in pixels")
        neighbours: int = option(_DEFAULT.NEIGHBOURS, "that vote for a class")
        ridge: float = option(_DEFAULT.RIDGE, "strength of the regression", limits=POSITIVE)

    def run(self, job):
        options = self.options
        if not options.test:
            raise ValueError("give the test images by --test ENTRY.")
        if options.side % options.cell:
            raise ValueError(f"--cell {options.cell} does not divide --side {options.side}.")
        samples = job.samples(options.images, self.needs)
        levels = tuple(x.strip() for x in options.levels.split(",") if x.strip())
        node = probe_defaults(
            TRAIN=job.data, TEST=options.test, IMAGES=options.images, FEATURES=levels,
            SIDE=options.side, REGIONS=options.regions, CELL=options.cell,
            NEIGHBOURS=options.neighbours, RIDGE=options.ridge,
        )  # fmt: skip
        probes, results = {}, {}
        for name, maps in job.backbones(samples, self.size):
            backbone, pixels = maps.backbone, (maps.mean, maps.std)
            # backbones with the same input share the images, which are read once
            like = (*probed_levels(node, backbone), maps.cfg.INPUT.FORMAT,
                    *(y for x in pixels for y in x.flatten().tolist()))  # fmt: skip
            if like not in probes:
                probes[like] = RegionProbe(node, backbone, *pixels, maps.cfg.INPUT.FORMAT)
            results[name] = _by_level(probes[like](backbone))
        return results, {"": draw_scores(results, _PANELS)}


def _by_level(found):
    """{"linear": ., "res4/linear": .} -> {"all": {"linear": .}, "res4": {"linear": .}}."""
    result = {}
    for key, value in found.items():
        level, _, number = key.rpartition("/")
        result.setdefault(level or "all", {})[number] = value
    if len(result) == 2:  # one level: all of it
        (level,) = (x for x in result if x != "all")
        result = {level: {**result[level], **result["all"]}}
    return {level: {"linear": x["linear"], "knn": x["knn"], **x} for level, x in result.items()}
