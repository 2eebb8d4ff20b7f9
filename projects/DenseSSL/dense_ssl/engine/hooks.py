"""Hooks that detectron2 does not have."""

import logging

import numpy as np
from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from fvcore.nn.precise_bn import get_bn_modules

from ..modeling.detectors.freeze import frozen_modules, hold_frozen
from ..modeling.momentum import momentum_at
from ..modeling.norm_statistics import estimate_statistics
from ..utils.checks import require_one_of
from ..utils.events import put_scalar

logger = logging.getLogger(__name__)


class UpdateTarget(HookBase):
    """Calls :meth:`~dense_ssl.modeling.Pretrainer.after_step` after each optimizer step.

    The momentum depends on the iteration alone, so a resumed run continues exactly. It suits every
    trainer of detectron2, SimpleTrainer among them.
    """

    def __init__(self, model, base, schedule):
        """
        Args:
            model: :class:`~dense_ssl.modeling.Pretrainer`.
            base, schedule: MODEL.SSL.MOMENTUM.
        """
        self.model = model
        self.base = base
        self.schedule = schedule

    def after_step(self):
        momentum = momentum_at(self.trainer.iter, self.trainer.max_iter, self.base, self.schedule)
        self.model.after_step(momentum)
        put_scalar("momentum", momentum)


class ReseedEveryStep(HookBase):
    """Makes all random numbers of a step depend on the seed, the iteration and the process alone.

    A resumed run then equals an uninterrupted one without any saved random state.
    """

    def before_step(self):
        key = [self.trainer.seed, self.trainer.iter, comm.get_rank()]
        # seed_all_rng takes what numpy's legacy generator takes: 32 bits
        seed_all_rng(int(np.random.SeedSequence(key).generate_state(1)[0]))


class WriteInBackground(HookBase):
    """Lets checkpoints be written while steps go on; raises their errors, waits for the last one.

    Must come after the hook that writes them.
    """

    def __init__(self, writer):
        """
        Args:
            writer: :class:`~dense_ssl.checkpoint.background.Writer`.
        """
        self.writer = writer

    def before_train(self):
        self.writer.in_background = True

    def after_step(self):
        self.writer.check()

    def after_train(self):
        self.writer.in_background = False
        self.writer.finish()


class RestartStatistics(HookBase):
    """Tracks the running statistics of batch norms from the start of a run, not from the weights.

    SCRL (Roh et al. 2021, Table 10): "we start all over tracking the running statistics".
    """

    def __init__(self, model):
        """
        Args:
            model: :class:`~dense_ssl.modeling.detectors.frozen_features.FrozenFeatures`.
        """
        self.model = model

    def before_train(self):
        if self.trainer.start_iter == 0:
            self.model.restart_statistics()


class FreezeBackbone(HookBase):
    """Freezes the batch norms of a backbone before training, with MODEL.FROZEN_NORM_STATS.

    "estimate": with the statistics of the labelled images. "keep": with those that were loaded.
    """

    def __init__(self, model, statistics, build_loader, num_iter):
        """
        Args:
            model: a detector.
            statistics: "estimate" or "keep".
            build_loader: returns a training loader.
            num_iter: batches for the estimate.
        """
        require_one_of("MODEL.FROZEN_NORM_STATS", statistics, ("estimate", "keep"))
        self.model = model
        self.statistics = statistics
        self.build_loader = build_loader
        self.num_iter = num_iter

    def before_train(self):
        # without FrozenBN (of MODEL.BACKBONE.FREEZE_AT), which always keeps what was loaded
        norms = [x for m in frozen_modules(self.model) for x in get_bn_modules(m)]
        if not norms:
            logger.info("The frozen backbone has no batch norm statistics that could change")
        elif self.trainer.start_iter > 0:
            logger.info("%d frozen batch norms keep the statistics of the checkpoint", len(norms))
        elif self.statistics == "keep":
            logger.info("%d frozen batch norms keep the statistics of the weights", len(norms))
        else:
            logger.info("Estimating the statistics of %d frozen batch norms on %d batches",
                        len(norms), self.num_iter)  # fmt: skip
            # the whole detector runs: C4 has a part of the backbone in its head
            estimate_statistics(self.model, self.build_loader(), self.num_iter, norms)
        hold_frozen(self.model)
