"""GPU hours of a fine-tuning protocol: estimated from FLOPs, or measured."""

import logging
import statistics
from dataclasses import dataclass

import numpy as np
from fvcore.nn.precise_bn import get_bn_modules

from ..config.machine import resolve_norms
from ..data.finetune.image_mapper import classifies_images
from ..data.finetune.loader import count_training_images
from ..data.finetune.region_mapper import classifies_regions
from ..data.finetune.semantic_mapper import is_semantic
from ..data.sources.entries import register_datasets
from ..modeling.building import build_model
from ..modeling.detectors.freeze import freeze_parameters
from ..solver import resolve_epochs
from ..utils.metrics_file import read_records
from .dummy_inputs import dummy_inputs
from .flops import MultiplyAdds, count_forward

logger = logging.getLogger(__name__)

# Peak of dense products in TFLOP/s, from NVIDIA's data sheets (SXM modules).
GPUS = {
    "V100-fp32": 15.7,
    "A100-tf32": 156.0,
    "A100-bf16": 312.0,
    "H100-tf32": 494.0,
    "H100-bf16": 989.0,
}

# (width, height) of a typical image, by a part of the name of the data set. For COCO and VOC, the
# ratio of longer to shorter side is the mean of the data set.
IMAGE_SIZES = {
    "cityscapes": (2048, 1024),
    "camvid": (480, 360),
    "voc": (500, 363),
    "coco": (640, 452),
}


@dataclass(frozen=True)
class Cost:
    """The cost of one protocol.

    Attributes:
        iterations: of a run; 0 if it is not known, as its length is in epochs of data that are
            not there.
        batch: SOLVER.IMS_PER_BATCH.
        size: (height, width) of a training image of mean area.
        multiply_adds: of the forward pass of such an image.
    """

    iterations: int
    batch: int
    size: tuple
    multiply_adds: MultiplyAdds

    @property
    def flops(self):
        """FLOPs of the whole training."""
        return self.multiply_adds.training_flops * self.batch * self.iterations

    def estimated_hours(self, flops_per_second):
        """GPU hours, assuming that a GPU sustains this rate."""
        return self.flops / flops_per_second / 3600

    def measured_hours(self, seconds_per_iteration, num_gpus):
        """GPU hours from the measured time of an iteration on a number of GPUs."""
        return seconds_per_iteration * self.iterations * num_gpus / 3600


def protocol_costs(cfgs, image_size=None):
    """Build the models of configs and count them; equal models are counted once.

    Small costs are left out: evaluation, batch norm statistics before it, and padding images to the
    largest of their batch.

    Args:
        cfgs: configs of detectors or segmentors.
        image_size: (width, height) of the images of the data sets; default: see IMAGE_SIZES.

    Yields:
        :class:`Cost` of each.
    """
    known = {}
    for cfg in cfgs:
        size = training_size(cfg, image_size or typical_size(cfg.DATASETS.TRAIN))
        model = cfg.MODEL.clone()
        model.defrost()
        model.WEIGHTS = ""
        key = (model.dump(), size)
        if key not in known:
            known[key] = count_training(cfg, size)
        yield Cost(run_length(cfg), cfg.SOLVER.IMS_PER_BATCH, size, known[key])


def run_length(cfg):
    """Return the iterations of a run, 0 if its length is in epochs of data that cannot be read."""
    if cfg.SOLVER.EPOCHS == 0:
        return cfg.SOLVER.MAX_ITER
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATASETS.TEST = ()
    try:
        register_datasets(cfg)
        num_images = count_training_images(cfg)
    except (OSError, ValueError, KeyError, AssertionError) as error:  # detectron2 asserts
        logger.warning(
            "SOLVER.EPOCHS is %g, and the images of DATASETS.TRAIN %s cannot be counted (%s). "
            "Name your data in DATASETS.TRAIN, or state SOLVER.MAX_ITER.",
            cfg.SOLVER.EPOCHS, tuple(cfg.DATASETS.TRAIN), str(error) or "it is empty",
        )  # fmt: skip
        return 0
    resolve_epochs(cfg, num_images)
    return cfg.SOLVER.MAX_ITER


def count_training(cfg, size):
    """Return :class:`MultiplyAdds` of one training image of ``size`` (height, width)."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    resolve_norms(cfg, logger)  # SyncBN needs a GPU; normalisation layers are not counted
    model = build_model(cfg).train()
    if cfg.MODEL.FREEZE_BACKBONE:
        freeze_parameters(model)
    for norm in get_bn_modules(model):
        norm.eval()  # one image may be a single value per channel
    return count_forward(model, dummy_inputs(cfg, *size))


def measured_seconds(text):
    """Return seconds per iteration: a number, or the median of the times in a metrics.json."""
    try:
        return float(text)
    except ValueError:
        # the first record includes the start-up
        times = [x["time"] for x in read_records(text) if "time" in x][1:]
    if not times:
        raise ValueError(f"{text}: the run is too short to measure the time of an iteration")
    return statistics.median(times)


def typical_size(names):
    """Return (width, height) of the images of data sets by their names, by default that of COCO."""
    text = " ".join(names)
    return next((size for part, size in IMAGE_SIZES.items() if part in text), IMAGE_SIZES["coco"])


def training_size(cfg, image_size):
    """Return (height, width) of a training image, of the mean area over the random sizes.

    Args:
        cfg: config. image_size: (width, height) of the images of the data set.

    Raises:
        ValueError: crops without a fixed size.
    """
    if classifies_regions(cfg) or classifies_images(cfg):
        return (cfg.INPUT.MIN_SIZE_TRAIN[0],) * 2
    crop = cfg.INPUT.CROP
    if crop.ENABLED:
        # detectron2 resizes after the crop for detectors, before it for semantic segmentation
        if crop.TYPE == "absolute" and is_semantic(cfg):
            return tuple(int(x) for x in crop.SIZE)
        raise ValueError(
            f"INPUT.CROP.TYPE {crop.TYPE!r} with MODEL.META_ARCHITECTURE "
            f"{cfg.MODEL.META_ARCHITECTURE!r}: the size of a training image is random."
        )
    width, height = image_size
    short = np.asarray(cfg.INPUT.MIN_SIZE_TRAIN, dtype=float)
    if cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING == "range":
        short = np.arange(short[0], short[-1] + 1)
    scale = np.minimum(short / min(width, height), cfg.INPUT.MAX_SIZE_TRAIN / max(width, height))
    mean = np.sqrt((scale**2).mean())
    return round(height * mean), round(width * mean)
