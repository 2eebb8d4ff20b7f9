"""From the command line to a frozen config that suits the machine."""

import contextlib
import logging

from detectron2.config import get_cfg
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

from ..checkpoint.recovery import checkpoints_of
from ..config import read_config
from ..config.imports import import_modules
from ..config.machine import resolve_device, resolve_norms
from ..config.packages import check_packages
from ..config.recipe import recipe_batch
from ..config.values import check_values
from ..data.finetune.label_space import AUTO, resolve_labels
from ..data.finetune.loader import count_training_images, forget_training_images
from ..data.sources.entries import forget_datasets, register_datasets
from ..data.views.loader import pretrain_dataset_dicts
from ..evaluation import check_best_metric, check_evaluators
from ..modeling.backbone_keys import norm_key, weight_keys
from ..modeling.detectors.window_segmentor import WindowSegmentor
from ..modeling.meta_architecture import is_pretraining, meta_architecture
from ..solver import resolve_epochs
from ..utils.allocator import tune_allocator
from ..utils.atomic_file import atomic_file
from ..utils.checks import require_positive, value_of
from .console import announce, setup_console
from .data_check import announce_data, check_data
from .output_folder import claim, config_file, write_config
from .probe import check_probe
from .resuming import seed_of_run
from .trackers import check_trackers

logger = logging.getLogger(__name__)


def setup(args, hold=None):
    """Build, resolve and freeze the config of a run, and set up its output folder and log.

    Args:
        args: result of detectron2's ``default_argument_parser()``; or with ``cfg``, a config that
            is not frozen, instead of a file and options.
        hold: contextlib.ExitStack, for a training: the folder is taken until it closes.

    Returns:
        frozen config.
    """
    forget_datasets()  # of an earlier run of this process: files may have changed
    forget_training_images()
    cfg = _config_of(args)
    check_values(cfg)
    if not cfg.OUTPUT_DIR:
        raise ValueError("OUTPUT_DIR is empty: name the folder of the run, such as output/my_run.")
    check_trackers(cfg)
    check_packages(cfg, args.eval_only)
    if hold is not None and not args.eval_only:
        claim(cfg.OUTPUT_DIR, args.resume, hold)
    # before anything is logged, so that log.txt has the package's own log from the start
    setup_console(cfg.OUTPUT_DIR)
    detected = resolve_device(cfg, logger)
    synchronised = resolve_norms(cfg, logger)
    # the schedule divides by them
    require_positive(cfg, "SOLVER.IMS_PER_BATCH", "SOLVER.ACCUMULATE")
    check_probe(cfg, is_pretraining(cfg))
    if is_pretraining(cfg):
        _resolve_pretraining(cfg)
    else:
        _resolve_finetuning(cfg, args)
    resolve_seed(cfg, args)
    require_positive(cfg, "SOLVER.MAX_ITER")
    if args.eval_only:
        check_evaluation(cfg)
    cfg.freeze()
    goes_on = getattr(args, "resume", False) and bool(checkpoints_of(cfg.OUTPUT_DIR))
    with _config_kept(cfg, args.eval_only or goes_on) as is_kept:
        default_setup(cfg, args)
    announce(cfg, getattr(args, "config_file", ""), is_kept and args.eval_only)
    checks = check_data(cfg, is_pretraining(cfg), args.eval_only)
    announce_data(checks, is_pretraining(cfg), cfg.DATASETS.TEST,
                  () if args.eval_only else cfg.DATASETS.TRAIN)  # fmt: skip
    if not is_kept and comm.is_main_process():
        write_config(cfg, with_device=not detected, synchronised=synchronised)
    if cfg.TUNE_ALLOCATOR and cfg.MODEL.DEVICE == "cpu":
        tune_allocator()
    return cfg


def _resolve_pretraining(cfg):
    if cfg.INPUT.MASK_FORMAT == AUTO:  # it reads no masks
        cfg.INPUT.MASK_FORMAT = get_cfg().INPUT.MASK_FORMAT
    check_pretraining(cfg)
    num_images = len(pretrain_dataset_dicts(cfg))
    resolve_epochs(cfg, num_images)
    meta_architecture(cfg).resolve(cfg, num_images)


def _resolve_finetuning(cfg, args):
    register_datasets(cfg)
    resolve_labels(cfg, stated=args.opts[::2])
    check_evaluators(cfg)
    check_finetuning(cfg)
    if args.eval_only:  # which needs no training images
        return
    num_images = count_training_images(cfg)
    names = ", ".join(cfg.DATASETS.TRAIN)
    logger.info("Fine-tuning on %d labelled images: %s", num_images, names)
    resolve_epochs(cfg, num_images)
    check_best_metric(cfg)


def _config_of(args):
    if not hasattr(args, "cfg"):
        cfg = read_config(args.config_file, args.opts)
        cfg.SOLVER.RECIPE_BATCH = recipe_batch(args.config_file, args.opts)
        return cfg
    import_modules(args.cfg.IMPORTS)  # of a process that was started for this run
    return args.cfg


@contextlib.contextmanager
def _config_kept(cfg, is_of_a_run):
    """Within it detectron2 writes config.yaml; that of a run is not lost.

    It is what a resumed run, a comparison and the report read. An evaluation has no claim to it,
    and a resumed run writes its own when nothing speaks against going on
    (:func:`~.resuming.update_config_file`). Yields whether there was one.
    """
    path = config_file(cfg)
    is_kept = is_of_a_run and PathManager.isfile(path)
    comm.synchronize()  # before the main process writes
    if is_kept and comm.is_main_process():
        with PathManager.open(path, "rb") as file:
            text = file.read()
    try:
        yield is_kept
    finally:
        if is_kept and comm.is_main_process():
            with atomic_file(path) as file:
                file.write(text)


def resolve_seed(cfg, args):
    """Draw SEED where it is negative: one for all processes, which config.yaml then states.

    A resumed run takes that of its config.yaml, or of its checkpoint where that file is lost.
    """
    if cfg.SEED >= 0:
        return
    seed = comm.shared_random_seed()
    if args.resume:
        stated = seed_of_run(cfg)
        seed = stated if stated >= 0 else seed
    cfg.SEED = comm.all_gather(seed)[0]  # the folder need not be on all machines
    if not args.eval_only:
        logger.info("SEED %d, drawn as none is stated", cfg.SEED)


def check_evaluation(cfg):
    """Raise where ``--eval-only`` has nothing to evaluate."""
    if is_pretraining(cfg):
        raise ValueError(
            f"--eval-only evaluates detectors, but MODEL.META_ARCHITECTURE "
            f"{cfg.MODEL.META_ARCHITECTURE!r} pre-trains. Name the yaml of a detector "
            "(configs/finetune/); tools/roi_probe.py and tools/analyze.py say what a backbone has "
            "learned."
        )
    if not cfg.DATASETS.TEST:
        raise ValueError(
            "DATASETS.TEST is empty, so --eval-only has nothing to evaluate. Name a labelled data "
            "set."
        )


def check_pretraining(cfg):
    """Raise where a config cannot pre-train from scratch."""
    if cfg.MODEL.BACKBONE.FREEZE_AT > 0:
        raise ValueError(
            f"MODEL.BACKBONE.FREEZE_AT is {cfg.MODEL.BACKBONE.FREEZE_AT}: pre-training would leave "
            "those stages randomly initialised. Set it to 0 (as configs/Base-Input.yaml does)."
        )
    _refuse_frozen_norm(cfg, "pre-training must update the batch-norm statistics")
    if cfg.INPUT.VIEWS.NUM < 1:
        raise ValueError("INPUT.VIEWS.NUM must be at least 1.")
    # plain batch norm sees the images of its own process alone
    shares = comm.get_world_size() if cfg.MODEL.SSL.HEAD_NORM == "BN" else 1
    if cfg.MODEL.SSL.HEAD_NORM and cfg.SOLVER.IMS_PER_BATCH < 2 * shares * cfg.SOLVER.ACCUMULATE:
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH is {cfg.SOLVER.IMS_PER_BATCH}, in {cfg.SOLVER.ACCUMULATE} parts "
            f"(SOLVER.ACCUMULATE) and {comm.get_world_size()} processes: the batch norms of the "
            "heads (MODEL.SSL.HEAD_NORM) would see a single image. Raise it, or lower ACCUMULATE."
        )


def check_finetuning(cfg):
    """Raise where keys contradict each other, or random weights would stay frozen."""
    if cfg.TEST.WINDOW.SIZE and not issubclass(meta_architecture(cfg), WindowSegmentor):
        raise ValueError(
            f"TEST.WINDOW.SIZE is {cfg.TEST.WINDOW.SIZE}, which MODEL.META_ARCHITECTURE "
            f"{cfg.MODEL.META_ARCHITECTURE!r} ignores. Set that to 'WindowSegmentor', or the "
            "size to ()."
        )
    if cfg.TEST.AUG.ENABLED:
        raise ValueError(
            "TEST.AUG.ENABLED is True, but test-time augmentation is not part of detectron2's "
            "evaluation, nor of this one. Set it to False."
        )
    if cfg.MODEL.WEIGHTS:
        return
    if cfg.MODEL.FREEZE_BACKBONE and cfg.MODEL.FROZEN_NORM_STATS == "keep":
        raise ValueError(
            "MODEL.FROZEN_NORM_STATS is 'keep', but MODEL.WEIGHTS is empty: the batch norms of a "
            "randomly initialised backbone have no statistics to keep. Set it to 'estimate', and "
            "do so for all backbones that are compared, or give weights."
        )
    if not weight_keys(cfg):
        return
    if cfg.MODEL.BACKBONE.FREEZE_AT > 0:
        raise ValueError(
            f"MODEL.WEIGHTS is empty and MODEL.BACKBONE.FREEZE_AT is "
            f"{cfg.MODEL.BACKBONE.FREEZE_AT}: randomly initialised stages would never train. Give "
            "weights, or set FREEZE_AT to 0."
        )
    _refuse_frozen_norm(cfg, "without weights its statistics would mean nothing")


def _refuse_frozen_norm(cfg, reason):
    key = norm_key(cfg)
    if key and value_of(cfg, key) == "FrozenBN":
        raise ValueError(f"{key} is 'FrozenBN': {reason}. Set it to 'SyncBN' (or 'BN', 'GN').")
