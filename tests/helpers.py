"""What several tests need."""

import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.engine import HookBase

from dense_ssl.config import default_config
from dense_ssl.engine import Trainer

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"
DETECTOR = Path(__file__).with_name("small_mask_rcnn.yaml")


@dataclass
class Method:
    """What the tests need to know of a method: all that is to be added for a new one.

    Attributes:
        yaml: the name of its yamls, before "_R_50_".
        loss: (name of a loss, smallest and largest value that makes sense).
        log: names in the log: the spread of its features first, then shares in [0, 1], such as
            how often a query finds its partner.
        small: yacs pairs that make its heads, queues and samples small.
        needs: yacs pairs: what it needs of the backbone and of the views.
    """

    yaml: str
    loss: tuple
    log: tuple
    small: list = field(default_factory=list)
    needs: list = field(default_factory=list)


# The methods that every general test runs over: training, resume, precision, processes, pictures.
METHODS = {
    "BYOL": Method(
        "byol", ("loss_byol", 0, 8), ("byol/feature_std",),
        ["MODEL.BYOL.HIDDEN_DIM", 16, "MODEL.BYOL.OUT_DIM", 8]),
    "SCRL": Method(
        "scrl", ("loss_scrl", 0, 8), ("scrl/feature_std", "scrl/overlap_rate"),
        ["MODEL.SCRL.HIDDEN_DIM", 16, "MODEL.SCRL.OUT_DIM", 8,
         "MODEL.SCRL.NUM_BOXES", 4, "MODEL.SCRL.MIN_BOX_SIZE", 16]),
    "MoCoV2": Method(
        "moco_v2", ("loss_moco", 0, 10), ("moco/feature_std", "moco/top1"),
        ["MODEL.MOCO.HIDDEN_DIM", 16, "MODEL.MOCO.OUT_DIM", 8, "MODEL.MOCO.QUEUE_SIZE", 20]),
    "DUPR": Method(
        "dupr", ("loss_patch_res5", 0, 10),
        ("dupr/patch_res5/feature_std", "dupr/image_res5/top1", "dupr/patch_res5/top1"),
        ["MODEL.DUPR.OUT_DIM", 8, "MODEL.DUPR.QUEUE_SIZE", 20, "MODEL.DUPR.PATCH_QUEUE_SIZE", 50,
         "MODEL.DUPR.ROI_SIZE", (4, 4, 4, 2), "MODEL.DUPR.KEYS_PER_IMAGE", 3],
        ["MODEL.RESNETS.OUT_FEATURES", ["res2", "res3", "res4", "res5"]]),
    "PointRegionContrast": Method(
        "point_region_contrast", ("loss_point_contrast", 0, 10),
        ("plrc/feature_std", "plrc/top1", "plrc/chance"),
        ["MODEL.PLRC.HIDDEN_DIM", 16, "MODEL.PLRC.OUT_DIM", 8, "MODEL.PLRC.GRID", 3,
         "MODEL.PLRC.NUM_REGIONS", 4, "MODEL.PLRC.NUM_POINTS", 3, "MODEL.PLRC.RESOLUTION", 16]),
    "SelfEMD": Method(
        "self_emd", ("loss_emd", 0, 4),
        ("self_emd/feature_std", "self_emd/arrived", "self_emd/chance"),
        ["MODEL.SELF_EMD.HIDDEN_DIM", 16, "MODEL.SELF_EMD.OUT_DIM", 8,
         "MODEL.SELF_EMD.ITERATIONS", 20],
        ["INPUT.VIEWS.NUM", 3, "INPUT.VIEWS.SIZE", (64, 64, 32),
         "INPUT.VIEWS.BLUR_PROB", (0.5,), "INPUT.VIEWS.SOLARIZE_PROB", (0.2,)]),
    "LCLoss": Method(
        "lc_loss", ("loss_local", 0, 10),
        ("lc_loss/feature_std", "lc_loss/top1", "lc_loss/chance"),
        ["MODEL.LC_LOSS.HIDDEN_DIM", 16, "MODEL.LC_LOSS.OUT_DIM", 8],
        ["INPUT.VIEWS.NUM", 3, "INPUT.VIEWS.CROP", ("random", "random", "whole"),
         "INPUT.VIEWS.FLIP_PROB", (0.5, 0.5, 0.0), "INPUT.VIEWS.BLUR_PROB", (0.5,),
         "INPUT.VIEWS.SOLARIZE_PROB", (0.2,)]),
    "DenseCL": Method("dense_cl", ("loss_dense", 0, 10), ("dense_cl/feature_std", "dense_cl/top1")),
    "PixPro": Method(
        "pixpro", ("loss_pixpro", -2, 2), ("pixpro/feature_std", "pixpro/top1", "pixpro/chance"),
        ["MODEL.PIXPRO.HIDDEN_DIM", 16, "MODEL.PIXPRO.OUT_DIM", 8]),
    "Distillation": Method(
        "distillation", ("loss_distillation", 0, 4),
        ("distillation/feature_std", "distillation/top1", "distillation/chance"),
        ["MODEL.DISTILLATION.TEACHER.NAME", "test_vit.r160_in1k",
         "MODEL.DISTILLATION.TEACHER.WEIGHTS", "random"]),
}  # fmt: skip

# A narrow ResNet-50 (detectron2 keeps the width of ResNet-18 fixed) on small views.
TINY = [
    "MODEL.DEVICE", "cpu",
    "MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.RESNETS.STEM_OUT_CHANNELS", 8,
    "MODEL.RESNETS.NORM", "BN",
    "MODEL.SSL.HEAD_NORM", "BN",
    *(option for method in METHODS.values() for option in method.small),
    "INPUT.VIEWS.SIZE", (64,), "INPUT.VIEWS.CROP_SCALE", ((0.2, 1.0),),
    "DATALOADER.NUM_WORKERS", 0,
    "SOLVER.IMS_PER_BATCH", 8, "SOLVER.MAX_ITER", 6, "SOLVER.CHECKPOINT_PERIOD", 3,
    "SOLVER.WARMUP_ITERS", 2, "SOLVER.BASE_LR", 0.05, "SOLVER.AMP.ENABLED", False,
    "SEED", 7, "VIS_PERIOD", 0,
]  # fmt: skip


def needs(method):
    """yacs pairs: what a META_ARCHITECTURE needs of the backbone and of the views."""
    return METHODS[method].needs if method in METHODS else []


def base_config(*options):
    """detectron2's and DenseSSL's defaults with yacs pairs on top, for CPUs."""
    cfg = default_config()
    cfg.MODEL.DEVICE = "cpu"  # yamls do not state one
    cfg.LOG.REPORT = False  # it takes longer than many of the tests
    cfg.merge_from_list(list(options))
    return cfg


def load_config(path):
    """The config of a yaml, for CPUs."""
    cfg = base_config()
    cfg.merge_from_file(str(path))
    cfg.MODEL.DEVICE = "cpu"
    return cfg


def short_name(path):
    """'.../COCO-Detection/retinanet_R_50_FPN_1x.yaml' -> 'COCO-Detection/retinanet_R_50_FPN_1x'."""
    return f"{path.parent.name}/{path.stem}"


def final_weights(folder):
    """Weights at the end of a run."""
    return torch.load(os.path.join(folder, "model_final.pth"), weights_only=True)["model"]


def tiny_config(method, folder, output, *options):
    """A tiny pre-training config on a folder of images."""
    cfg = base_config()
    cfg.merge_from_file(str(CONFIGS / "Base-Pretrain.yaml"))
    cfg.merge_from_list(
        [
            *TINY,
            *needs(method),
            "MODEL.META_ARCHITECTURE",
            method,
            "DATASETS.TRAIN",
            (f"folder:{folder}",),
            "OUTPUT_DIR",
            str(output),
            *options,
        ]  # fmt: skip
    )
    return cfg


def photo(rng, width, height):
    """A photo-like uint8 image (height, width, 3): smooth areas, edges, some noise."""
    small = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    for _ in range(4):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        radius = int(rng.integers(5, max(6, min(width, height) // 3)))
        image = cv2.circle(image, (x, y), radius, colour, -1)
    image += rng.integers(-8, 9, image.shape).astype(np.int16)
    return image.clip(0, 255).astype(np.uint8)


def random_batch(count=4, size=64, views=2, seed=0, sizes=None):
    """A list of inputs of a pre-training model, with plausible geometry."""
    from dense_ssl.data.views.crops import crop_affine, draw_crop

    rng = np.random.default_rng(seed)
    batch = []
    for _ in range(count):
        image = torch.from_numpy(rng.integers(0, 256, (3, size, size), dtype=np.uint8))
        sample = {"seed": int(rng.integers(2**31)), "views": []}
        for v in range(views):
            side = size if sizes is None else sizes[v]
            crop = draw_crop(rng, 200, 150, (0.5, 1.0), (3 / 4, 4 / 3))
            affine = crop_affine(crop, side, bool(rng.random() < 0.5))
            pixels = image.roll(v, dims=1)[:, :side, :side].clone()
            sample["views"].append({"image": pixels, "affine": torch.from_numpy(affine)})
        batch.append(sample)
    return batch


def batch_for(method, count=4):
    """A list of inputs with the views that a method of METHODS needs."""
    pairs = dict(zip(needs(method)[::2], needs(method)[1::2]))
    sizes = pairs.get("INPUT.VIEWS.SIZE", (64, 64, 64))
    return random_batch(count, views=len(sizes), sizes=sizes)


class Killed(Exception):
    """What ends a run in the middle."""


class KillAt(HookBase):
    """Ends a run in the middle; its schedules still aim at SOLVER.MAX_ITER."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_step(self):
        if self.trainer.iter == self.iteration:
            raise Killed


def build_trainer(cfg):
    """A trainer after what setup() would have done."""
    os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    torch.manual_seed(0)
    return Trainer(cfg)


def train(cfg, resume=False, kill_at=None):
    """Train to the end, or until iteration ``kill_at``; returns the trainer."""
    trainer = build_trainer(cfg)
    trainer.resume_or_load(resume=resume)
    if kill_at is None:
        trainer.train()
    else:
        trainer.register_hooks([KillAt(kill_at)])
        with pytest.raises(Killed):
            trainer.train()
    return trainer


@contextmanager
def recorded_log(name, level):
    """The messages of a logger, whatever has been done to the log's propagation."""
    records, logger = [], logging.getLogger(name)
    handler = logging.Handler(level)
    handler.emit = lambda record: records.append(record.getMessage())
    before = logger.level
    logger.setLevel(level)
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)
    logger.setLevel(before)
