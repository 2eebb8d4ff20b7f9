"""A watch on the features: does a run collapse?"""

import logging
from collections import Counter

from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage

from ..utils.events import LOG_PERIOD, is_logged

logger = logging.getLogger(__name__)

ACTIONS = ("warn", "stop")
# Below it the cosine of two images is above 0.9975 on average, see `log_feature_std`.
COLLAPSED = 0.05
# So many reports in a row: at the start features may come close for a moment, and part again.
PATIENCE = 10


class WatchForCollapse(HookBase):
    """Says it when the features of different images have become the same.

    It reads the spread that every objective logs ("byol/feature_std"). A run whose spread was below
    :data:`COLLAPSED` in :data:`PATIENCE` reports in a row gets a warning, or ends.
    """

    def __init__(self, action="warn"):
        """
        Args:
            action: MODEL.SSL.ON_COLLAPSE, "warn" (once for each objective) or "stop".
        """
        if action not in ACTIONS:
            raise ValueError(f"MODEL.SSL.ON_COLLAPSE is {action!r}; it must be one of {ACTIONS}.")
        self.action = action
        self._low = Counter()  # reports in a row, by name

    def after_step(self):
        if not is_logged():
            return
        messages = []
        for name, history in get_event_storage().histories().items():
            if name.endswith("_std"):
                self._low[name] = self._low[name] + 1 if history.latest() < COLLAPSED else 0
                if self._low[name] == PATIENCE:
                    messages.append(self._message(name, history.latest()))
        for message in messages:
            logger.warning(message)
        # all processes end together: each sees its own images, the first one decides
        if self.action == "stop" and comm.all_gather(bool(messages))[0]:
            raise RuntimeError(
                " ".join(messages) or "The run has collapsed, see the first process."
            )

    def _message(self, name, value):
        return (
            f"The run has collapsed: {name} is {value:.2g} and was below {COLLAPSED} for "
            f"{PATIENCE * LOG_PERIOD} iterations (until {self.trainer.iter + 1}), so all images "
            "have nearly the same features. Lower SOLVER.BASE_LR, lengthen the warm-up "
            "(SOLVER.WARMUP_EPOCHS) or raise MODEL.SSL.MOMENTUM.BASE, and start again. "
            "MODEL.SSL.ON_COLLAPSE 'stop' would end such a run here, 'warn' lets it go on."
        )
