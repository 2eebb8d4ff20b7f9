"""The values that keys may have: one table, checked before a run touches anything.

What depends on several keys, or on the data, is checked where it is used.
"""

import math

import torch
from detectron2.config import CfgNode
from detectron2.modeling import (
    ANCHOR_GENERATOR_REGISTRY,
    BACKBONE_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_BOX_HEAD_REGISTRY,
    ROI_HEADS_REGISTRY,
    ROI_KEYPOINT_HEAD_REGISTRY,
    ROI_MASK_HEAD_REGISTRY,
    RPN_HEAD_REGISTRY,
    SEM_SEG_HEADS_REGISTRY,
)

from ..data.finetune.label_space import AUTO
from ..utils.checks import nearest, require_one_of, value_of
from .defaults import refuse_none

_NORMS = ("", "BN", "SyncBN", "FrozenBN", "GN", "LN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N")
# MODEL.DEVICE of every config that is loaded and does not state another: "cuda" if there is a GPU,
# else "cpu". (Not the default of the key: stock configs keep detectron2's.) Apple's "mps" is not
# chosen, because detectron2's RoIAlign does not run on it.
DETECT = "detect"
_SCHEDULES = (
    "LinearWarmupCosine", "WarmupPolyLR", "WarmupMultiStepLR", "WarmupCosineLR",
    "WarmupStepWithFixedGammaLR",
)  # fmt: skip
_METHODS = "BYOL SCRL MOCO DUPR PLRC SELF_EMD LC_LOSS PIXPRO DISTILLATION"

# (least value, largest value, whether the least one itself is excluded): keys. A key with several
# numbers is checked number by number. Keys that the config does not have are left out.
_RANGES = {
    (0, math.inf, True): """
        SOLVER.GAMMA SOLVER.TRUST_COEFFICIENT SOLVER.POLY_LR_POWER MODEL.PIXEL_STD
        SOLVER.CLIP_GRADIENTS.CLIP_VALUE SOLVER.CLIP_GRADIENTS.NORM_TYPE
        MODEL.SCRL.TEMPERATURE MODEL.MOCO.TEMPERATURE MODEL.DUPR.TEMPERATURE MODEL.PLRC.TEMPERATURE
        MODEL.PLRC.STUDENT_TEMPERATURE MODEL.PLRC.TEACHER_TEMPERATURE MODEL.LC_LOSS.TEMPERATURE
        MODEL.PIXPRO.THRESHOLD MODEL.PIXPRO.POWER MODEL.SELF_EMD.REGULARIZATION
        SOLVER.BASE_LR GUARDS.MAX_ENLARGEMENT INPUT.SCALE_RANGE TEST.PROBE.RIDGE""",
    (0, math.inf, False): """
        SOLVER.BASE_LR_END SOLVER.WEIGHT_DECAY SOLVER.WEIGHT_DECAY_NORM
        SOLVER.BIAS_LR_FACTOR SOLVER.WARMUP_ITERS SOLVER.EPOCHS
        SOLVER.WARMUP_EPOCHS SOLVER.CHECKPOINT_EPOCHS SOLVER.KEEP_CHECKPOINTS SOLVER.KEEP_EVERY
        SOLVER.STEPS SOLVER.BASE_LR_BATCH SOLVER.REFERENCE_WORLD_SIZE
        TEST.EVAL_PERIOD TEST.EVAL_EPOCHS TEST.PATIENCE TEST.PROBE.PERIOD VIS_PERIOD
        DATALOADER.NUM_WORKERS DATALOADER.REPEAT_THRESHOLD
        INPUT.MIN_SIZE_TEST INPUT.VIEWS.MIN_OVERLAP MODEL.SSL.MIN_ANGLE MODEL.SSL.MAX_GROWTH
        MODEL.SSL.OBJECTIVE_WEIGHTS MODEL.SCRL.MIN_BOX_SIZE MODEL.SCRL.BOX_JITTER
        MODEL.SCRL.SAMPLING_RATIO MODEL.MOCO.HIDDEN_DIM MODEL.MOCO.QUEUE_SIZE MODEL.PLRC.HIDDEN_DIM
        MODEL.DUPR.ALPHA MODEL.DUPR.BETA MODEL.DUPR.QUEUE_SIZE MODEL.DUPR.PATCH_QUEUE_SIZE
        MODEL.PLRC.WARMUP_EPOCHS MODEL.PLRC.WARMUP_ITERS MODEL.LC_LOSS.HIDDEN_DIM
        MODEL.LC_LOSS.WHOLE_VIEW MODEL.LC_LOSS.CROP_VIEWS MODEL.DISTILLATION.HIDDEN_DIM
        MODEL.DISTILLATION.VIEWS MODEL.DISTILLATION.IMAGE_WEIGHT MODEL.SELF_EMD.VECTOR_LOSS_WEIGHT
        MODEL.IMAGE_CLASSIFIER.GRIDS MODEL.VIT.WINDOW_BLOCKS MODEL.VIT.SQUARE_PAD
        MODEL.SEM_SEG_HEAD.LOSS_WEIGHT MODEL.SEM_SEG_HEAD.FCN.AUX_LOSS_WEIGHT
        MODEL.SEM_SEG_HEAD.FCN.NUM_CONVS GUARDS.MIN_PRETRAIN_STEPS GUARDS.MIN_FINETUNE_STEPS
        GUARDS.MIN_EPOCHS GUARDS.MEMORY INPUT.VIEWS.BRIGHTNESS INPUT.VIEWS.CONTRAST
        INPUT.VIEWS.SATURATION INPUT.VIEWS.BLUR_SIGMA MODEL.FPN.MAX_GAIN_RATIO""",
    (1, math.inf, False): f"""
        SOLVER.IMS_PER_BATCH SOLVER.ACCUMULATE SOLVER.CHECKPOINT_PERIOD SOLVER.MAX_ITER
        INPUT.MIN_SIZE_TRAIN INPUT.MAX_SIZE_TRAIN INPUT.MAX_SIZE_TEST
        INPUT.VIEWS.NUM INPUT.VIEWS.SIZE INPUT.VIEWS.OVERLAP_TRIES INPUT.REGIONS.RESOLUTION
        {" ".join(f"MODEL.{x}.OUT_DIM" for x in _METHODS.split() if x != "DISTILLATION")}
        MODEL.BYOL.HIDDEN_DIM MODEL.SCRL.HIDDEN_DIM MODEL.SELF_EMD.HIDDEN_DIM
        MODEL.PIXPRO.HIDDEN_DIM MODEL.SCRL.NUM_BOXES MODEL.SCRL.MAX_TRIES MODEL.DUPR.ROI_SIZE
        MODEL.DUPR.KEYS_PER_IMAGE MODEL.PLRC.GRID MODEL.PLRC.NUM_REGIONS MODEL.PLRC.NUM_POINTS
        MODEL.PLRC.RESOLUTION MODEL.SELF_EMD.ITERATIONS MODEL.SELF_EMD.NUM_VIEWS
        MODEL.RESNETS.NUM_GROUPS MODEL.RESNETS.WIDTH_PER_GROUP MODEL.RESNETS.STEM_OUT_CHANNELS
        MODEL.RESNETS.RES2_OUT_CHANNELS MODEL.RESNETS.RES4_DILATION
        MODEL.RESNETS.RES5_MULTI_GRID MODEL.FPN.OUT_CHANNELS
        MODEL.VIT.PATCH_SIZE MODEL.VIT.EMBED_DIM MODEL.VIT.DEPTH MODEL.VIT.NUM_HEADS
        MODEL.VIT.IMAGE_SIZE MODEL.ROI_HEADS.NUM_CLASSES MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE
        MODEL.RETINANET.NUM_CLASSES MODEL.SEM_SEG_HEAD.NUM_CLASSES MODEL.SEM_SEG_HEAD.CONVS_DIM
        MODEL.SEM_SEG_HEAD.FCN.DILATION MODEL.SEM_SEG_HEAD.FCN.AUX_CONVS_DIM
        MODEL.IMAGE_CLASSIFIER.NUM_CLASSES MODEL.RPN.BATCH_SIZE_PER_IMAGE
        TEST.DETECTIONS_PER_IMAGE TEST.PRECISE_BN.NUM_ITER TEST.WINDOW.SIZE TEST.WINDOW.STRIDE
        TEST.PROBE.SIDE TEST.PROBE.IMAGES TEST.PROBE.REGIONS TEST.PROBE.CELL
        TEST.PROBE.NEIGHBOURS""",
    (0, 1, False): """
        INPUT.VIEWS.FLIP_PROB INPUT.VIEWS.JITTER_PROB INPUT.VIEWS.GRAY_PROB INPUT.VIEWS.BLUR_PROB
        INPUT.VIEWS.SOLARIZE_PROB SOLVER.WARMUP_FACTOR SOLVER.STEP_SHARES
        MODEL.SSL.MOMENTUM.BASE DATALOADER.MAX_BROKEN_SHARE
        MODEL.SCRL.IOU_THRESHOLD MODEL.PLRC.ALPHA MODEL.PLRC.BETA MODEL.LC_LOSS.ALPHA
        MODEL.SEM_SEG_HEAD.FCN.DROPOUT MODEL.ROI_HEADS.POSITIVE_FRACTION
        MODEL.ROI_HEADS.SCORE_THRESH_TEST MODEL.ROI_HEADS.NMS_THRESH_TEST MODEL.RPN.NMS_THRESH
        MODEL.RETINANET.SCORE_THRESH_TEST MODEL.RETINANET.NMS_THRESH_TEST
        INPUT.CROP.SINGLE_CATEGORY_MAX_AREA""",
    (0, 1, True): "TEST.PROBE.SHARE INPUT.CLASSIFY.CROP_AREA INPUT.VIEWS.CROP_SCALE",
    (0, 0.9999999, False): "SOLVER.MOMENTUM SOLVER.BETAS MODEL.TIMM.DROP_PATH MODEL.VIT.DROP_PATH",
    (0, 5, False): "MODEL.BACKBONE.FREEZE_AT",
    (0, 0.5, False): "INPUT.VIEWS.HUE",
    (0, 256, False): "INPUT.VIEWS.SOLARIZE_THRESHOLD",
    (-math.inf, math.inf, False): "MODEL.PIXEL_MEAN",
    (-math.inf, 2**31 - 1, False): "SEED",
}

_CHOICES = {
    (18, 34, 50, 101, 152): "MODEL.RESNETS.DEPTH",
    _NORMS: """MODEL.RESNETS.NORM MODEL.FPN.NORM MODEL.SSL.HEAD_NORM MODEL.TIMM.NORM
        MODEL.ROI_BOX_HEAD.NORM MODEL.ROI_MASK_HEAD.NORM MODEL.SEM_SEG_HEAD.NORM
        MODEL.RETINANET.NORM MODEL.IMAGE_CLASSIFIER.NORM""",
    (1, 2, 4): "MODEL.RESNETS.RES5_DILATION",
    _SCHEDULES: "SOLVER.LR_SCHEDULER_NAME",
    ("", "LN"): "MODEL.TIMM.OUT_NORM",
    ("SGD", "LARS", "AdamW"): "SOLVER.OPTIMIZER",
    ("bfloat16", "float16", "auto"): "SOLVER.AMP.PRECISION",
    ("float32", "bfloat16"): "MODEL.SSL.LOSS_PRODUCTS",
    ("value", "norm", "full_model"): "SOLVER.CLIP_GRADIENTS.CLIP_TYPE",
    ("cosine", "constant"): "MODEL.SSL.MOMENTUM.SCHEDULE",
    ("warn", "stop"): "MODEL.SSL.ON_COLLAPSE",
    ("estimate", "keep"): "MODEL.FROZEN_NORM_STATS",
    ("grid", "boxes", "masks", "files"): "INPUT.REGIONS.SOURCE",
    ("fast", "exact"): "INPUT.VIEWS.BACKEND",
    ("polygon", "bitmask", AUTO): "INPUT.MASK_FORMAT",
    ("horizontal", "vertical", "none"): "INPUT.RANDOM_FLIP",
    ("choice", "range"): "INPUT.MIN_SIZE_TRAIN_SAMPLING",
    ("relative_range", "relative", "absolute", "absolute_range"): "INPUT.CROP.TYPE",
    ("bilinear", "bicubic"): "INPUT.CLASSIFY.INTERPOLATION",
    ("valid", "all"): "MODEL.SEM_SEG_HEAD.FCN.LOSS_MEAN_OVER",
    ("TrainingSampler", "RepeatFactorTrainingSampler"): "DATALOADER.SAMPLER_TRAIN",
}  # fmt: skip

# Lists of names.
_NAMES = ("DATASETS.TRAIN", "DATASETS.TEST", "MODEL.RESNETS.OUT_FEATURES", "TEST.PROBE.FEATURES",
          "MODEL.DUPR.IN_FEATURES", "MODEL.SSL.OBJECTIVES", "MODEL.DISTILLATION.IN_FEATURES",
          "MODEL.IMAGE_CLASSIFIER.IN_FEATURES", "LOG.WRITERS")  # fmt: skip
# Names of what has been registered; "" is detectron2's for "none". A proposal generator may be one
# that is none either.
_REGISTRIES = {
    "MODEL.BACKBONE.NAME": BACKBONE_REGISTRY,
    "MODEL.PROPOSAL_GENERATOR.NAME": PROPOSAL_GENERATOR_REGISTRY,
    "MODEL.ROI_HEADS.NAME": ROI_HEADS_REGISTRY,
    "MODEL.ROI_BOX_HEAD.NAME": ROI_BOX_HEAD_REGISTRY,
    "MODEL.ROI_MASK_HEAD.NAME": ROI_MASK_HEAD_REGISTRY,
    "MODEL.ROI_KEYPOINT_HEAD.NAME": ROI_KEYPOINT_HEAD_REGISTRY,
    "MODEL.SEM_SEG_HEAD.NAME": SEM_SEG_HEADS_REGISTRY,
    "MODEL.RPN.HEAD_NAME": RPN_HEAD_REGISTRY,
    "MODEL.ANCHOR_GENERATOR.NAME": ANCHOR_GENERATOR_REGISTRY,
}
# How many numbers a key has.
_COUNTS = {"MODEL.PIXEL_MEAN": (1, 3), "MODEL.PIXEL_STD": (1, 3), "SOLVER.BETAS": (2,)}
_UNREGISTERED = ("", "PrecomputedProposals")


def check_values(cfg):
    """Raise ValueError, with key, value and what it may be, for the first key that is wrong."""
    _check_registered(cfg)
    for bounds, keys in _RANGES.items():
        for key in keys.split():
            _check_range(cfg, key, *bounds)
    refuse_none(cfg)
    for allowed, keys in _CHOICES.items():
        for key in keys.split():
            require_one_of(key, _present(cfg, key, allowed[0]), allowed)
    for key in _NAMES:
        value = _present(cfg, key, ())
        if not all(isinstance(x, str) for x in value):
            raise ValueError(f"{key} is {value!r}; it must be names, such as: {key} \"('a', 'b')\"")
    for name, value in cfg.INPUT.VIEWS.items():
        if isinstance(value, (list, tuple)) and not value:
            raise ValueError(
                f"INPUT.VIEWS.{name} is empty; give one entry per view, or a single one for all."
            )
    for key, counts in _COUNTS.items():
        value = value_of(cfg, key)
        if len(value) not in counts:
            raise ValueError(f"{key} is {value!r}; it must have {max(counts)} numbers.")
    if "?" in cfg.OUTPUT_DIR:
        raise ValueError(
            f"OUTPUT_DIR is {cfg.OUTPUT_DIR!r}; it must not have a question mark, which "
            "MODEL.WEIGHTS takes for the beginning of options."
        )
    _check_maps(cfg)
    _check_device(cfg.MODEL.DEVICE)


def _check_registered(cfg):
    for key, registry in _REGISTRIES.items():
        value = _present(cfg, key, "")
        if value not in _UNREGISTERED and value not in registry:
            names = sorted(x for x, _ in registry)
            raise ValueError(
                f"{key} is {value!r}, which is not registered.{nearest(value, names)} Correct the "
                "name or, if it is one of your own, name its module in IMPORTS. Registered are "
                f"{', '.join(names)}."
            )


def _check_maps(cfg):
    maps = cfg.MODEL.RESNETS.OUT_FEATURES
    allowed = ("stem", "res2", "res3", "res4", "res5")
    wrong = [x for x in maps if x not in allowed] if "resnet" in cfg.MODEL.BACKBONE.NAME else []
    if wrong or not maps:
        raise ValueError(
            f"MODEL.RESNETS.OUT_FEATURES is {maps}; it must name maps of the backbone"
            + (f", and {wrong[0]!r} is none of {allowed}." if wrong else ": at least one.")
        )


def _check_device(name):
    try:
        torch.device("cpu" if name == DETECT else name)
    except RuntimeError as error:
        raise ValueError(
            f"MODEL.DEVICE is {name!r}; it must be 'cpu', 'cuda' or 'cuda:N', N being the number "
            "of a GPU."
        ) from error


def _check_range(cfg, key, low, high, excluded):
    value = _present(cfg, key, ())
    for x in _numbers(value):
        # also refuses NaN, None and text
        is_number = isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x)
        # what begins at 1 is counted
        is_number = is_number and (low != 1 or x == int(x))
        if not is_number or not low <= x <= high or excluded and x == low:
            raise ValueError(f"{key} is {value!r}; it must be {_in_words(low, high, excluded)}.")


def _numbers(value):
    if isinstance(value, (list, tuple)):
        return [x for y in value for x in _numbers(y)]
    return [value]


def _in_words(low, high, excluded):
    if excluded:
        return "above 0" if high == math.inf else f"above 0, and {high} at most"
    if high == math.inf:
        return "numbers" if low == -math.inf else f"{low} or more" + " and whole" * (low == 1)
    if 0.9 < high < 1:
        return "0 or more, and below 1"
    return f"{high} or less" if low == -math.inf else f"between {low} and {high}"


def _present(cfg, key, default):
    """Return the value of a key, ``default`` if the config does not have it."""
    node, _, name = key.rpartition(".")
    try:
        node = value_of(cfg, node) if node else cfg
    except KeyError:
        return default
    return node.get(name, default) if isinstance(node, CfgNode) else default
