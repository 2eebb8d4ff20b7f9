"""A watch for collapse: the features of all images become the same."""

import logging
from collections import Counter

from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage

from ..utils.checks import require_one_of
from ..utils.events import LOG_PERIOD, is_logged, watched_names

logger = logging.getLogger(__name__)

ACTIONS = ("warn", "stop")
# Below it the cosine of two images is above 0.9975 on average, see `log_feature_std`.
COLLAPSED = 0.05
# Reports in a row: at the start features may come close for a moment, and separate again.
PATIENCE = 10


class WatchForCollapse(HookBase):
    """Warns, or ends the run, when the features of different images have become the same.

    It reads what objectives log by :func:`~dense_ssl.utils.events.log_feature_std`. A run whose
    spread is below :data:`COLLAPSED` in :data:`PATIENCE` reports in a row has collapsed.
    """

    def __init__(self, action="warn"):
        """
        Args:
            action: MODEL.SSL.ON_COLLAPSE, "warn" (once for each objective) or "stop".
        """
        require_one_of("MODEL.SSL.ON_COLLAPSE", action, ACTIONS)
        self.action = action
        self._low = Counter()  # reports in a row, by name

    def after_step(self):
        if not is_logged():
            return
        messages, storage = [], get_event_storage()
        for name in sorted(watched_names(storage)):
            latest = storage.history(name).latest()
            self._low[name] = self._low[name] + 1 if latest < COLLAPSED else 0
            if self._low[name] == PATIENCE:
                messages.append(self._message(name, latest))
        for message in messages:
            logger.warning(message)
        # all processes end together: each sees its own images, the first one decides
        if self.action == "stop" and comm.all_gather(bool(messages))[0]:
            raise RuntimeError(
                " ".join(messages) or "The run has collapsed, see the log of the first process."
            )

    def _message(self, name, value):
        return (
            f"The run has collapsed: {name} is {value:.2g} and was below {COLLAPSED} for "
            f"{PATIENCE * LOG_PERIOD} iterations (until {self.trainer.iter + 1}), so all images "
            "have nearly the same features. Lower SOLVER.BASE_LR, lengthen the warm-up "
            "(SOLVER.WARMUP_EPOCHS) or raise MODEL.SSL.MOMENTUM.BASE, and start again. "
            "MODEL.SSL.ON_COLLAPSE 'stop' would end such a run here, 'warn' lets it go on."
        )
