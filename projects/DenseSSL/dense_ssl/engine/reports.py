"""When the writers report, and the curves of a run."""

import logging
import os
import sys
import time

from detectron2.engine import HookBase, hooks

from ..utils.events import take_report_request
from ..visualization.curves import draw_run
from .best import EarlyStop
from .trackers import Tracker
from .writers import ReportPrinter

logger = logging.getLogger(__name__)

# Seconds without a line on the console: until the first report, and afterwards.
FIRST_SILENCE = 10
SILENCE = 60


class Reports(hooks.PeriodicWriter):
    """detectron2's PeriodicWriter, with lines on the console in between where steps are slow.

    The first step is printed when it ends. The lines in between depend on the clock, so they are
    for the console and log.txt; metrics.json has the iterations of the period, and those that
    another hook asks for (:func:`~dense_ssl.utils.events.report_now`).
    """

    def before_train(self):
        self._last_line = None
        self._has_reported = False
        for writer in self._writers:
            if isinstance(writer, Tracker):
                writer.start(is_resumed=self.trainer.start_iter > 0)

    def after_step(self):
        super().after_step()
        now, done = time.monotonic(), self.trainer.iter + 1
        silence = SILENCE if self._has_reported else FIRST_SILENCE
        if done % self._period == 0 or done == self.trainer.max_iter:
            self._has_reported = True
        elif take_report_request():
            self._has_reported = True
            self.trainer._trainer.read_numbers()
            for writer in self._writers:
                writer.write()
        elif self._last_line is None or now - self._last_line >= silence:
            for writer in self._writers:
                if isinstance(writer, ReportPrinter):
                    writer.write_early()
        else:
            return
        self._last_line = now

    def after_train(self):
        super().after_train()
        is_complete = self.trainer.iter >= self.trainer.max_iter or sys.exc_info()[0] is EarlyStop
        for writer in self._writers:
            if isinstance(writer, Tracker):
                writer.end(is_complete)


class DrawCurves(HookBase):
    """Draws metrics.json as ``curves.png``, with every checkpoint and at the end.

    Comes after :class:`Reports`, and only in the main process.
    """

    def __init__(self, folder, period):
        """
        Args:
            folder: OUTPUT_DIR.
            period: SOLVER.CHECKPOINT_PERIOD.
        """
        self.folder = folder
        self.period = period
        self._has_failed = False

    def after_step(self):
        if (self.trainer.iter + 1) % self.period == 0:
            self._draw()

    def after_train(self):
        self._draw()

    def _draw(self):
        if self._has_failed:
            return
        metrics, picture = (os.path.join(self.folder, x) for x in ("metrics.json", "curves.png"))
        try:
            draw_run(metrics, picture)
        except Exception as error:  # a picture is no reason to lose a run
            self._has_failed = True
            logger.warning("Cannot draw %s, so the run goes on without it: %r", picture, error)
