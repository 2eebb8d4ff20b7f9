"""Every config key that DenseSSL adds to detectron2, with its default.

The defaults change nothing for a stock detectron2 config: the same ``cfg`` still trains a plain
Mask R-CNN. Pre-training values live in ``configs/Base-Pretrain.yaml`` and its children.
"""

from detectron2.config import CfgNode as CN


def add_dense_ssl_config(cfg):
    """Add the keys of DenseSSL to ``cfg`` (in place)."""
    _add_run_config(cfg)
    _add_data_config(cfg)
    _add_view_config(cfg)
    _add_model_config(cfg)
    _add_method_config(cfg)
    _add_contrastive_config(cfg)
    _add_bootstrap_config(cfg)
    _add_solver_config(cfg)


def _add_run_config(cfg):
    # Keep freed memory in the process instead of returning it to the kernel (Linux with glibc
    # only): large CPU activations are then not page-faulted anew at every step.
    cfg.TUNE_ALLOCATOR = True


def _add_data_config(cfg):
    # Entries of DATASETS.TRAIN and DATASETS.TEST are names registered in detectron2, or one of
    #   folder:IMAGES                 a folder of images, nested or not, without labels
    #   coco:ANNOTATIONS.json:IMAGES  a COCO json and its image folder
    #   voc:ROOT:SPLIT[:YEAR]         a VOC folder; ROOT/classes.txt overrides the 20 VOC classes
    # More than this share of unreadable images stops pre-training.
    cfg.DATALOADER.MAX_BROKEN_SHARE = 0.02


def _add_view_config(cfg):
    # The views of a pre-training image. Every key below holds one entry per view; a single entry
    # serves all views. Order of operations: crop and resize, flip, jitter, grey, blur, solarise.
    views = cfg.INPUT.VIEWS = CN()
    # How many views are made of each image.
    views.NUM = 2
    # Side of the square view, in pixels.
    views.SIZE = (224,)
    # "random": a random resized crop. "whole": the whole image, aspect ratio given up.
    views.CROP = ("random",)
    # Area of the crop as a share of the image, uniform in this range.
    views.CROP_SCALE = ((0.08, 1.0),)
    # Width / height of the crop, log-uniform in this range.
    views.CROP_RATIO = ((3.0 / 4.0, 4.0 / 3.0),)
    # "bicubic" or "bilinear".
    views.INTERPOLATION = ("bicubic",)
    # Probability of a horizontal flip.
    views.FLIP_PROB = (0.5,)
    # Probability of colour jitter, and the largest change of each of its four operations.
    views.JITTER_PROB = (0.8,)
    views.BRIGHTNESS = (0.4,)
    views.CONTRAST = (0.4,)
    views.SATURATION = (0.2,)
    views.HUE = (0.1,)
    # Probability of dropping the colour.
    views.GRAY_PROB = (0.2,)
    # Probability of blur; "gaussian" with sigma uniform in BLUR_SIGMA pixels at size 224 (scaled
    # with SIZE), or "resize" (shrink by 1.1, 1.2 or 1.5 and enlarge, as SCRL's code does).
    views.BLUR_PROB = (1.0, 0.1)
    views.BLUR = ("gaussian",)
    views.BLUR_SIGMA = ((0.1, 2.0),)
    # Probability of solarisation, and the grey level from which values are inverted.
    views.SOLARIZE_PROB = (0.0, 0.2)
    views.SOLARIZE_THRESHOLD = (128,)
    # "exact": each operation as torchvision does it. "fast": the linear colour operations of a
    # view as one matrix. See docs/performance.md for their distance and their speed.
    views.BACKEND = "fast"
    # The crops of an image are drawn again until every pair overlaps by more than this many view
    # pixels on each side, in the view of lower zoom; 0 accepts any pair of crops.
    views.MIN_OVERLAP = 0
    # After this many draws the last crops are taken; objectives then skip the image.
    views.OVERLAP_TRIES = 10

    # Regions of the images for point-level region contrast, other than its grid: "boxes" or
    # "masks" of the annotations (for analysis: pre-training reads annotations for nothing else),
    # or "files": label maps in FOLDER, PNG files of the images' names; 255 is no region.
    regions = cfg.INPUT.REGIONS = CN()
    regions.SOURCE = "grid"
    regions.FOLDER = ""
    # What no box or mask covers is a region of its own.
    regions.BACKGROUND = True


def _add_model_config(cfg):
    # Run convolutions in channels-last memory format.
    cfg.MODEL.CHANNELS_LAST = False
    # Freeze the whole backbone, its norm statistics included (fine-tuning of heads only).
    cfg.MODEL.FREEZE_BACKBONE = False
    # Refuse weights whose colour order, pixel mean or std, stride placement or norm differ from
    # this config, or of which nothing fits the backbone.
    cfg.MODEL.CHECK_WEIGHTS = True
    # Let a weights file run code while it is read. False reads tensors and plain values alone.
    cfg.MODEL.TRUST_WEIGHTS = False

    ssl = cfg.MODEL.SSL = CN()
    # For META_ARCHITECTURE "MultiObjective": names in the OBJECTIVE registry, each with the feature
    # map it works on or its own ("SCRLObjective@p3"), and their weights (one each; empty: all 1).
    ssl.OBJECTIVES = ()
    ssl.OBJECTIVE_WEIGHTS = ()
    # Norm of projection and prediction heads.
    ssl.HEAD_NORM = "SyncBN"
    # Run all views of the same size as one batch (norm statistics over all of them) instead of
    # one after the other.
    ssl.CONCATENATE_VIEWS = False
    # Deal the images of all processes out anew for the target encoder (MoCo's shuffled BN): for
    # norms that each process computes for itself ("BN"); synchronised norms need no shuffling.
    ssl.SHUFFLE_TARGET = False
    # Momentum of the target network: from BASE to 1 by a cosine over the run, or "constant".
    ssl.MOMENTUM = CN()
    ssl.MOMENTUM.BASE = 0.996
    ssl.MOMENTUM.SCHEDULE = "cosine"


def _add_method_config(cfg):
    byol = cfg.MODEL.BYOL = CN()
    # Feature map of the backbone that is pooled.
    byol.IN_FEATURE = "res5"
    # Hidden and output width of projector and predictor.
    byol.HIDDEN_DIM = 4096
    byol.OUT_DIM = 256

    scrl = cfg.MODEL.SCRL = CN()
    # Feature map that the boxes are pooled from.
    scrl.IN_FEATURE = "res5"
    scrl.HIDDEN_DIM = 4096
    scrl.OUT_DIM = 256
    # Boxes per image (K).
    scrl.NUM_BOXES = 10
    # "uniform": Eq. 1 of the paper. "grid": one cell of a random division of the overlap holds
    # each box, as in the authors' code (smaller boxes).
    scrl.BOX_SAMPLING = "uniform"
    # Smallest box side in view pixels, in the view of lower zoom; 0: the stride of IN_FEATURE.
    scrl.MIN_BOX_SIZE = 0
    # A box that overlaps an earlier one of its image by at least this IoU is drawn again, up to
    # MAX_TRIES times; 1 accepts every box.
    scrl.IOU_THRESHOLD = 0.5
    scrl.MAX_TRIES = 50
    # Sides and centre of each box move by up to this share of its size, in each view on its own
    # (Table 7): 0, 0.1, 0.2; a negative value draws unrelated boxes in the two views.
    scrl.BOX_JITTER = 0.0
    # RoIAlign with the half-pixel shift (detectron2's) or without (the authors' code).
    scrl.ALIGNED = True
    # Sampling points of RoIAlign per bin side; 0: adaptive.
    scrl.SAMPLING_RATIO = 0


def _add_contrastive_config(cfg):
    moco = cfg.MODEL.MOCO = CN()
    # Feature map of the backbone that is pooled.
    moco.IN_FEATURE = "res5"
    # Hidden width of the head, 0: that of the map; output width.
    moco.HIDDEN_DIM = 0
    moco.OUT_DIM = 128
    # Keys in the queue; 0 (auto): 65536, or half as many as an epoch gives where that is fewer.
    moco.QUEUE_SIZE = 65536
    # Type that the queue is stored in: "float32", "bfloat16" or "float16".
    moco.QUEUE_DTYPE = "float32"
    moco.TEMPERATURE = 0.2
    # Let both views be query and key (two passes more), instead of one each.
    moco.SYMMETRIC = False
    # Run the head on every cell and average what it gives, instead of on the average.
    moco.POOL_AFTER_HEAD = False

    dupr = cfg.MODEL.DUPR = CN()
    # Feature maps, from fine to coarse, and for each the weight of its image loss (alpha), of its
    # patch loss (beta) and the patches along each axis of the overlap (S). Weight 0: nothing built.
    dupr.IN_FEATURES = ("res2", "res3", "res4", "res5")
    dupr.ALPHA = (0.1, 0.4, 0.7, 1.0)
    dupr.BETA = (0.0, 0.0, 1.0, 1.0)
    dupr.ROI_SIZE = (14, 14, 14, 7)
    dupr.OUT_DIM = 128
    dupr.TEMPERATURE = 0.2
    # Keys in each image queue and in each patch queue; 0 (auto) as MODEL.MOCO.QUEUE_SIZE.
    dupr.QUEUE_SIZE = 65536
    dupr.PATCH_QUEUE_SIZE = 65536
    dupr.QUEUE_DTYPE = "float32"
    # Patches of an image that enter a patch queue.
    dupr.KEYS_PER_IMAGE = 4
    # RoIAlign with the half-pixel shift or without; sampling points per bin side, 0: adaptive.
    dupr.ALIGNED = True
    dupr.SAMPLING_RATIO = 0

    plrc = cfg.MODEL.PLRC = CN()
    # Feature map, widths of the head on its cells (hidden 0: that of the map).
    plrc.IN_FEATURE = "res5"
    plrc.HIDDEN_DIM = 0
    plrc.OUT_DIM = 128
    # One head for points and for the image loss (needs MODEL.MOCO.POOL_AFTER_HEAD True).
    plrc.SHARED_HEAD = False
    # Grid of regions on the image (n x n), unless INPUT.REGIONS brings others.
    plrc.GRID = 4
    # Regions drawn per image (N), points per region (P), cells of a view along each axis (R).
    plrc.NUM_REGIONS = 16
    plrc.NUM_POINTS = 16
    plrc.RESOLUTION = 64
    # Points are the same places of the image in both views; False: each view draws its own.
    plrc.PAIRED_POINTS = True
    # "point", or "region": one vector per region, the mean over its cells.
    plrc.LEVEL = "point"
    # Negatives from the own "image", the "batch" of the process, or "all" processes.
    plrc.NEGATIVES = "batch"
    plrc.TEMPERATURE = 0.2
    # Affinity distillation: temperatures; strategy 1, 2 or 3 (section 4.5.2); leave out the pair
    # of a point with itself.
    plrc.STUDENT_TEMPERATURE = 0.1
    plrc.TEACHER_TEMPERATURE = 0.07
    plrc.STRATEGY = 1
    plrc.EXCLUDE_SELF = False
    # Weight of the contrast against distillation (alpha), of both against the image loss (beta).
    plrc.ALPHA = 0.5
    plrc.BETA = 0.7
    # Warm-up in epochs (above 0 it replaces WARMUP_ITERS): no distillation ("off"), or one with a
    # teacher's temperature that rises from 0.04 ("teacher_temp").
    plrc.WARMUP_EPOCHS = 0
    plrc.WARMUP_ITERS = 0
    plrc.WARMUP_MODE = "off"


def _add_bootstrap_config(cfg):
    emd = cfg.MODEL.SELF_EMD = CN()
    # Feature map, widths of projectors and predictors.
    emd.IN_FEATURE = "res5"
    emd.HIDDEN_DIM = 4096
    emd.OUT_DIM = 256
    # 3: with the smaller third view (of INPUT.VIEWS.SIZE); 2: without.
    emd.NUM_VIEWS = 3
    # Weights of the nodes: by the other view's "vector" (Eq. 15), by the "mean" of its nodes
    # (Eq. 14), "uniform"; by nodes as they are or L2-normalised.
    emd.MARGINALS = "vector"
    emd.NORMALIZE_NODES = False
    # Pooled nodes of the spatial pyramid: in one transport ("union"), one per level ("levels"),
    # or "none".
    emd.PYRAMID = "union"
    # Entropic regularisation (gamma) and iterations (T) of Sinkhorn; above 0 TOLERANCE ends the
    # iteration once no marginal is off by more.
    emd.REGULARIZATION = 0.05
    emd.ITERATIONS = 50
    emd.TOLERANCE = 0.0
    # Take the gradient through the transport plan too.
    emd.DIFFERENTIATE_PLAN = False
    # Weight of BYOL's loss on the vectors; 0: no vector branch.
    emd.VECTOR_LOSS_WEIGHT = 1.0

    lc = cfg.MODEL.LC_LOSS = CN()
    # Feature map, widths of the local branch (hidden 0: that of the map).
    lc.IN_FEATURE = "res5"
    lc.HIDDEN_DIM = 0
    lc.OUT_DIM = 256
    # The view of the whole image, and the crops that its cells are looked for in.
    lc.WHOLE_VIEW = 2
    lc.CROP_VIEWS = (0, 1)
    lc.TEMPERATURE = 0.1
    # Weight of the local loss against the global one in META_ARCHITECTURE "LCLoss" (alpha).
    lc.ALPHA = 0.1
    # Look for the cells of the crops in the whole image as well.
    lc.SYMMETRIC = False
    # "contrast", or "mse": the distance of corresponding cells (Table 6).
    lc.LOSS = "contrast"


def _add_solver_config(cfg):
    # detectron2 v0.6 does not have it yet: where a cosine ends.
    cfg.SOLVER.setdefault("BASE_LR_END", 0.0)
    # "SGD", "LARS" or "AdamW". The last two exclude biases and norms from weight decay (LARS also
    # from its adaptation); SGD follows WEIGHT_DECAY_NORM and WEIGHT_DECAY_BIAS.
    cfg.SOLVER.OPTIMIZER = "SGD"
    cfg.SOLVER.BETAS = (0.9, 0.999)
    cfg.SOLVER.TRUST_COEFFICIENT = 0.001
    # Length of pre-training, of its warm-up and of the time between checkpoints, in epochs. Above
    # 0 they replace MAX_ITER, WARMUP_ITERS and CHECKPOINT_PERIOD.
    cfg.SOLVER.EPOCHS = 0
    cfg.SOLVER.WARMUP_EPOCHS = 0
    cfg.SOLVER.CHECKPOINT_EPOCHS = 0
    # Above 0: the learning rate is BASE_LR * IMS_PER_BATCH / BASE_LR_BATCH.
    cfg.SOLVER.BASE_LR_BATCH = 0
    # Each step accumulates the gradients of this many equal parts of IMS_PER_BATCH.
    cfg.SOLVER.ACCUMULATE = 1
    # "bfloat16", "float16" or "auto" (bfloat16 where the device has it).
    cfg.SOLVER.AMP.PRECISION = "auto"
