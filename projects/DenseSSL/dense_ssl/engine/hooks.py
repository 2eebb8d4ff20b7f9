"""Hooks that detectron2 does not have."""

import logging

import numpy as np
from detectron2.engine import HookBase, hooks
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats

from ..modeling.detectors.freeze import frozen_modules, hold_frozen
from ..modeling.momentum import momentum_at
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


class RestartedPreciseBN(hooks.PreciseBN):
    """detectron2's PreciseBN, on the same images each time."""

    def update_stats(self):
        self._data_iter = None
        super().update_stats()


class FreezeBackbone(HookBase):
    """Freezes the backbone before training, after estimating its batch-norm statistics.

    They are estimated on the training images. A randomly initialised backbone has none to freeze,
    and a pre-trained one has those of its augmented views; with new ones for both the comparison is
    fair.
    """

    def __init__(self, model, build_loader, num_iter):
        """
        Args:
            model: a detector. build_loader: returns a training loader.
            num_iter: batches for the estimate.
        """
        self.model = model
        self.build_loader = build_loader
        self.num_iter = num_iter

    def before_train(self):
        if self.trainer.start_iter == 0:
            norms = [x for m in frozen_modules(self.model) for x in get_bn_modules(m)]
            if norms:
                logger.info(
                    "Estimating the statistics of %d frozen batch norms on %d batches",
                    len(norms),
                    self.num_iter,
                )
                # the whole detector runs: C4 has a part of the backbone in its head
                update_bn_stats(self.model, self.build_loader(), self.num_iter)
        hold_frozen(self.model)
