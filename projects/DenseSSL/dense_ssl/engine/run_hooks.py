"""The hooks of a run, in the order in which they are called."""

from detectron2.engine import hooks
from detectron2.utils import comm
from fvcore.nn.precise_bn import get_bn_modules

from ..modeling.detectors.frozen_features import FrozenFeatures
from ..utils.events import LOG_PERIOD
from .best import EvaluateAndChoose
from .guards import CheckStart
from .health import WatchForCollapse
from .hooks import (
    FreezeBackbone,
    ReseedEveryStep,
    RestartStatistics,
    UpdateTarget,
    WriteInBackground,
)
from .interrupts import ListenForSignals, StopOnSignal
from .motion import WatchBackbone
from .norm_statistics import RestartedPreciseBN
from .probe import OnlineProbe
from .reports import DrawCurves, Reports
from .run_report import RunReport


def run_hooks(trainer):
    """Return the hooks of a :class:`~dense_ssl.engine.Trainer`."""
    cfg = trainer.cfg
    model = trainer.model.module if comm.get_world_size() > 1 else trainer.model
    evaluates = not trainer.is_pretraining and bool(cfg.DATASETS.TEST)
    stop = StopOnSignal(trainer.checkpointer, evaluates)
    # the first step takes longer, so it is not timed
    timer = hooks.IterationTimer(warmup_iter=2)
    first = [ListenForSignals(stop), CheckStart(), ReseedEveryStep(), timer]
    if trainer.is_pretraining:
        node = cfg.MODEL.SSL
        probes = [OnlineProbe(cfg, model, trainer.checkpointer)] if cfg.TEST.PROBE.TRAIN else []
        return [
            *first,
            UpdateTarget(model, node.MOMENTUM.BASE, node.MOMENTUM.SCHEDULE),
            WatchBackbone(model.backbone, node.MIN_ANGLE, node.MAX_GROWTH),
            hooks.LRScheduler(),
            *probes,
            *_checkpoints(trainer),
            *_reports(trainer),
            WatchForCollapse(node.ON_COLLAPSE),  # late: a run that it ends is written down
            stop,
        ]
    test = cfg.TEST
    return [
        *first,
        hooks.LRScheduler(),
        *_norm_statistics(trainer, model),
        *_checkpoints(trainer),
        EvaluateAndChoose(
            test.EVAL_PERIOD, trainer._evaluate, trainer.checkpointer, test.BEST_METRIC,
            test.PATIENCE,
        ),
        *_reports(trainer),
        stop,
    ]  # fmt: skip


def _norm_statistics(trainer, model):
    """Those of a frozen backbone, and PreciseBN before evaluation."""
    cfg = trainer.cfg.clone()
    cfg.defrost()
    cfg.DATALOADER.NUM_WORKERS = 0
    count = cfg.TEST.PRECISE_BN.NUM_ITER
    result = []
    if cfg.MODEL.FREEZE_BACKBONE:
        build = lambda: trainer.build_train_loader(cfg, trainer.seed)  # noqa: E731
        result.append(FreezeBackbone(model, cfg.MODEL.FROZEN_NORM_STATS, build, count))
    elif isinstance(model, FrozenFeatures):
        result.append(RestartStatistics(model))
    if cfg.TEST.PRECISE_BN.ENABLED and get_bn_modules(model):
        loader = trainer.build_train_loader(cfg, trainer.seed)
        result.append(RestartedPreciseBN(cfg.TEST.EVAL_PERIOD, model, loader, count))
    return result


def _checkpoints(trainer):
    if not comm.is_main_process():
        return []
    node, checkpointer = trainer.cfg.SOLVER, trainer.checkpointer
    result = [hooks.PeriodicCheckpointer(checkpointer, node.CHECKPOINT_PERIOD)]
    if node.CHECKPOINT_IN_BACKGROUND:
        result.append(WriteInBackground(checkpointer.writer))
    return result


def _reports(trainer):
    if not comm.is_main_process():
        return []
    cfg = trainer.cfg
    result = [
        Reports(trainer.build_writers(), period=LOG_PERIOD),
        DrawCurves(cfg.OUTPUT_DIR, cfg.SOLVER.CHECKPOINT_PERIOD),
    ]
    if cfg.LOG.REPORT:
        result.append(RunReport(cfg, trainer.num_images, trainer.is_pretraining))
    return result
