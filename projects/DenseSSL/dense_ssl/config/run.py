"""Keys of a run: machine, optimizer, schedule, evaluation, warnings."""

from detectron2.config import CfgNode as CN


def add_guard_config(cfg):
    """What a run warns of before its first step; the numbers are ours, from our own short runs."""
    guards = cfg.GUARDS = CN()
    # Fewer steps of pre-training. 600 steps of 16 images with LARS turn a small network by 7
    # degrees (MODEL.SSL.MIN_ANGLE), 100 by 3.
    guards.MIN_PRETRAIN_STEPS = 500
    # Fewer steps of fine-tuning. 300 steps of 8 images trained a small segmentor, 600 a small
    # detector; after 20 a detector finds nothing.
    guards.MIN_FINETUNE_STEPS = 200
    # Fewer epochs: below 1, some images are never used.
    guards.MIN_EPOCHS = 1.0
    # Views that show their crops enlarged by more than this factor, on average. Recipes of the
    # papers are at 0.5 (COCO) to 0.7 (ImageNet).
    guards.MAX_ENLARGEMENT = 1.5
    # A step that is estimated to need more than this share of the free memory; 0: no estimate.
    guards.MEMORY = 0.9


def add_run_config(cfg):
    """The process."""
    # Modules, or Python files relative to the yaml that names them, that are imported before the
    # other keys are read: objectives, META_ARCHITECTUREs, backbones, data sets of your own.
    cfg.IMPORTS = ()
    # Read yamls with tags of Python (!!python/...), which run code; on the command line alone.
    cfg.TRUST_CONFIGS = False
    # Keep freed memory in the process instead of returning it to the kernel (Linux with glibc
    # only), so that large CPU activations cause no page faults at every step.
    cfg.TUNE_ALLOCATOR = True


def add_solver_config(cfg):
    """Optimizer, schedule, precision."""
    # Where a cosine ends; detectron2 v0.6 does not have this key yet.
    cfg.SOLVER.setdefault("BASE_LR_END", 0.0)
    # LR_SCHEDULER_NAME "WarmupPolyLR": BASE_LR_END + (BASE_LR - BASE_LR_END) * (1 - t)^power,
    # where t is the share of the training that is done.
    cfg.SOLVER.POLY_LR_POWER = 0.9
    # "SGD", "LARS" or "AdamW". The last two exclude biases, normalisation layers and positions from
    # weight decay (LARS also from its adaptation); SGD follows WEIGHT_DECAY_NORM and
    # WEIGHT_DECAY_BIAS.
    cfg.SOLVER.OPTIMIZER = "SGD"
    cfg.SOLVER.BETAS = (0.9, 0.999)
    cfg.SOLVER.TRUST_COEFFICIENT = 0.001
    # Length of the training, of its warm-up and of the time between checkpoints, in epochs. Above 0
    # they replace MAX_ITER, WARMUP_ITERS and CHECKPOINT_PERIOD. An epoch is as many images as the
    # training data have (in fine-tuning without those that detectron2 leaves out because nothing is
    # labelled), whatever DATALOADER.SAMPLER_TRAIN is: RepeatFactorTrainingSampler shows some images
    # more often in the same number of steps.
    # With EPOCHS, STEPS keep their share of MAX_ITER, and a warm-up in iterations that would take
    # the whole run takes a tenth of it.
    cfg.SOLVER.EPOCHS = 0
    cfg.SOLVER.WARMUP_EPOCHS = 0
    cfg.SOLVER.CHECKPOINT_EPOCHS = 0
    # How many of the last checkpoints stay; 0: all. Those after each KEEP_EVERY iterations stay too
    # (0: none), and model_final.pth and model_best.pth always do.
    cfg.SOLVER.KEEP_CHECKPOINTS = 0
    cfg.SOLVER.KEEP_EVERY = 0
    # Steps go on while a copy of the state, in the memory of the host, is written.
    cfg.SOLVER.CHECKPOINT_IN_BACKGROUND = True
    # Where the learning rate of WarmupMultiStepLR falls, as shares of the training, such as
    # (0.67, 0.89); they replace STEPS. Empty: STEPS.
    cfg.SOLVER.STEP_SHARES = ()
    # Above 0: the learning rate is BASE_LR * IMS_PER_BATCH / BASE_LR_BATCH.
    cfg.SOLVER.BASE_LR_BATCH = 0
    # Set at the start of a run: the batch that BASE_LR was stated for, which is IMS_PER_BATCH of
    # the file (or of the command line) that states BASE_LR. 0: not known.
    cfg.SOLVER.RECIPE_BATCH = 0
    # Each step accumulates the gradients of this many equal parts of IMS_PER_BATCH.
    cfg.SOLVER.ACCUMULATE = 1
    # "bfloat16", "float16" or "auto": bfloat16 where the device computes in it, else float16 on
    # GPUs and full precision on CPUs.
    cfg.SOLVER.AMP.PRECISION = "auto"


def add_evaluation_config(cfg):
    """Evaluation during training."""
    # Time between evaluations, in epochs; above 0 it replaces TEST.EVAL_PERIOD.
    cfg.TEST.EVAL_EPOCHS = 0
    # An evaluation metric, such as "bbox/AP" or "sem_seg/mIoU" (of several data sets: the name of
    # the set before it, as in metrics.json). The detector with the highest one is kept as
    # model_best.pth. Empty: none is kept.
    cfg.TEST.BEST_METRIC = ""
    # Training stops after this many evaluations in a row without a new best; 0: never.
    cfg.TEST.PATIENCE = 0
