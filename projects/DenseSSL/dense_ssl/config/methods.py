"""Keys of the methods."""

from detectron2.config import CfgNode as CN


def add_method_config(cfg):
    """BYOL and SCRL."""
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


def add_contrastive_config(cfg):
    """MoCo v2, DUPR and point-level region contrast."""
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
    # Negatives of both losses from the own "image", the "batch" of the process, or "all" processes.
    plrc.NEGATIVES = "batch"
    plrc.TEMPERATURE = 0.2
    # Affinity distillation: temperatures; strategy 1, 2 or 3 (section 4.5.2); leave out the pair
    # of a point with itself.
    plrc.STUDENT_TEMPERATURE = 0.1
    plrc.TEACHER_TEMPERATURE = 0.07
    plrc.STRATEGY = 1
    plrc.EXCLUDE_SELF = False
    # Weight of the contrast against distillation (alpha), of both against the image loss (beta, of
    # META_ARCHITECTURE "PointRegionContrast").
    plrc.ALPHA = 0.5
    plrc.BETA = 0.7
    # Warm-up in epochs (above 0 it replaces WARMUP_ITERS): no distillation ("off"), or one with a
    # teacher's temperature that rises from 0.04 ("teacher_temp").
    plrc.WARMUP_EPOCHS = 0
    plrc.WARMUP_ITERS = 0
    plrc.WARMUP_MODE = "off"


def add_bootstrap_config(cfg):
    """Self-EMD and LC-loss."""
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
