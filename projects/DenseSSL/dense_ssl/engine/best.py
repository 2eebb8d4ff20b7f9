"""The best detector (or backbone) by a metric, and the end of a run that no longer improves."""

import logging
import math
import sys

from detectron2.engine import hooks
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm

logger = logging.getLogger(__name__)


class EarlyStop(BaseException):
    """Ends the training loop. Not an Exception: detectron2 would log it as a crash."""


class KeepsBest:
    """The best value of a metric, where it was, and how long ago: a part of a hook.

    Attributes:
        metric: its name; higher is better. "": nothing is kept.
        best, best_iteration: the value and its iteration, counted from 1; -inf and None before.
        stale: values since the best one.
    """

    # what a checkpoint keeps, beside the metric; hooks add their own
    kept = ("best", "best_iteration", "stale")

    def __init__(self, metric, **rest):
        super().__init__(**rest)
        self.metric = metric
        self.best, self.best_iteration, self.stale = -math.inf, None, 0

    def take(self, value, done, file):
        """Take a value into account; return True if it is the best so far.

        Args:
            value: of the metric; NaN is never the best. Before the first number it does not count:
                a detector finds nothing at first.
            done: iterations that are done.
            file: that the caller then writes, for the log.
        """
        if value > self.best:
            self.best, self.best_iteration, self.stale = value, done, 0
            logger.info("%s %.3f is the best so far: %s", self.metric, value, file)
            return True
        self.stale += self.best_iteration is not None
        return False

    def state_dict(self):
        if not self.metric:
            return {}
        return {name: getattr(self, name) for name in ("metric", *self.kept)}

    def load_state_dict(self, state):
        if state["metric"] != self.metric:  # another metric has another best
            logger.info("%r was watched before: the best %s starts anew", state["metric"],
                        self.metric)  # fmt: skip
            return
        vars(self).update(state)


class EvaluateAndChoose(KeepsBest, hooks.EvalHook):
    """detectron2's EvalHook, which also keeps the best detector and may end the run.

    detectron2's BestCheckpointer forgets the best value when a run resumes, makes ``--resume`` go
    on from model_best.pth, and only warns of a metric that does not exist.

    The best value and the evaluations since then are in the checkpoints. A checkpoint is written
    before the evaluation of its iteration, so a run that resumes from it evaluates first.
    """

    kept = (*KeepsBest.kept, "evaluated")

    def __init__(self, period, evaluate, checkpointer, metric="", patience=0):
        """
        Args:
            period: TEST.EVAL_PERIOD.
            evaluate: function without arguments, gives the results in the main process.
            checkpointer: of the run.
            metric: TEST.BEST_METRIC; higher is better.
            patience: TEST.PATIENCE.
        """
        super().__init__(metric, eval_period=period, eval_function=self._keep_results)
        self._evaluate = evaluate
        self._results = None
        self._checkpointer = checkpointer
        self.patience = patience
        self.evaluated = 0  # iterations that were done at the last evaluation
        self._stopped = False
        self._outer = None

    def _keep_results(self):
        self._checkpointer.writer.wait()  # the loader forks, best with no other thread at work
        self._results = self._evaluate()
        return self._results

    def before_train(self):
        self._outer = sys.exc_info()[1]  # that of a caller which trains in an except block
        start = self.trainer.start_iter
        missed = self._period > 0 and start % self._period == 0 and self.evaluated < start
        if self.metric and missed and start < self.trainer.max_iter:
            # as after the last step before the checkpoint
            self.trainer.iter = self.trainer.storage.iter = start - 1
            self._do_eval()

    def before_step(self):
        if self.metric and self.best_iteration is not None and 0 < self.patience <= self.stale:
            logger.info(
                "Training stops: %d evaluations in a row (TEST.PATIENCE) without a better %s than "
                "%.3f, that of model_best.pth, of iteration %d",
                self.stale,
                self.metric,
                self.best,
                self.best_iteration,
            )
            self._stopped = True
            raise EarlyStop

    def after_train(self):
        # an error, or a signal, is no end to evaluate
        if not self._stopped and sys.exc_info()[1] is self._outer:
            super().after_train()
        self._outer = None
        self._evaluate = None  # it refers to the trainer

    def _do_eval(self):
        super()._do_eval()
        if not self.metric:
            return
        done = min(self.trainer.iter + 1, self.trainer.max_iter)
        error = self._choose(done) if comm.is_main_process() else ""
        # only the main process has results
        found = comm.all_gather((self.best, self.best_iteration, self.stale, error))[0]
        self.best, self.best_iteration, self.stale, error = found
        self.evaluated = done
        if error:
            raise ValueError(error)
        ends = 0 < self.patience <= self.stale and self.trainer.iter < self.trainer.max_iter
        if ends and comm.is_main_process():
            self._checkpointer.save("model_final", iteration=self.trainer.iter)

    def _choose(self, done):
        """Take the results of an evaluation into account; return an error, "" without one."""
        results = flatten_results_dict(self._results or {})
        if self.metric not in results:
            return (
                f"TEST.BEST_METRIC is {self.metric!r}, which the evaluation does not give. It "
                f"gives {', '.join(sorted(results)) or 'nothing'}."
            )
        value = float(results[self.metric])
        if self.take(value, done, "model_best.pth"):
            self._checkpointer.save("model_best", is_last=False, iteration=done - 1)
        elif self.best_iteration is None:
            logger.info("%s %.3f: nothing has been found yet", self.metric, value)
        else:
            logger.info(
                "%s %.3f; the best is %.3f, of iteration %s; evaluations without a gain: %d%s",
                self.metric,
                value,
                self.best,
                self.best_iteration,
                self.stale,
                f" of {self.patience} (TEST.PATIENCE)" if self.patience else "",
            )
        return ""
