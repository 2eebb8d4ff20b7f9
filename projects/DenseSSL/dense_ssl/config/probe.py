"""Keys of the probe that watches a pre-training (docs/probes.md)."""

from detectron2.config import CfgNode as CN


def probe_defaults(**values):
    """Return TEST.PROBE with the values given, for a probe of finished weights."""
    cfg = CN({"TEST": CN()})
    add_probe_config(cfg)
    cfg.TEST.PROBE.update(values)
    return cfg.TEST.PROBE


def add_probe_config(cfg):
    """Add TEST.PROBE.

    Pre-training never sees the labels: the probe classifies by features of a frozen copy. The idea
    is SCRL's (Roh et al. 2021, appendix C: RoI evaluation "during upstream ... in an online
    manner"); closed-form solve, neighbours and all numbers below are ours.
    """
    probe = cfg.TEST.PROBE = CN()
    # Two labelled data sets, in the forms of DATASETS.TRAIN: the classifiers learn from the first
    # and are tested on the second. Boxes (COCO, VOC) or label maps. Empty: no probe.
    probe.TRAIN = ""
    probe.TEST = ""
    # Iterations between probes, beside those before the first step and after the last. 0: a
    # twentieth of the run, or more where SHARE allows fewer probes.
    probe.PERIOD = 0
    # The share of the training time that all probes may take. A stated PERIOD is obeyed, with a
    # warning where it takes more.
    probe.SHARE = 0.05
    # Feature maps, such as ("res4", "res5") or ("p3",); several are probed one by one and joined.
    # Empty: the last map of the network.
    probe.FEATURES = ()
    # Images are resized to squares with sides of this many pixels.
    probe.SIDE = 224
    # At most so many images of each data set, evenly spaced in its order; they are kept in memory
    # (0.15 MB each at 224 pixels).
    probe.IMAGES = 100
    # At most so many boxes (or cells) of each; where there are more, rare classes keep theirs.
    probe.REGIONS = 2000
    # Label maps: the resized image is divided into cells with sides of this many pixels, and a
    # cell has the class of at least half of its pixels.
    probe.CELL = 32
    # Neighbours that vote for the class of a region.
    probe.NEIGHBOURS = 10
    # Strength of the ridge regression, for features of variance 1. On boxes of BCCD and cells of
    # CamVid 0.001 to 10 changed the accuracy by 4 points or less.
    probe.RIDGE = 1.0
