"""The best detector by an evaluation metric, and the end of a run that has stopped improving."""

import logging
import math

from detectron2.engine import hooks
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm

logger = logging.getLogger(__name__)


class EarlyStop(BaseException):
    """Ends the training loop. Not an Exception: detectron2 would log it as a crash."""


class EvaluateAndChoose(hooks.EvalHook):
    """detectron2's EvalHook, which also keeps the best detector and may end the run.

    detectron2's BestCheckpointer forgets the best value when a run resumes, makes ``--resume`` go
    on from model_best.pth, and only warns of a metric that does not exist.

    The best value and the evaluations since then are in the checkpoints. A checkpoint is written
    before the evaluation of its iteration, so a run that resumes from it evaluates first.
    """

    def __init__(self, period, evaluate, checkpointer, metric="", patience=0):
        """
        Args:
            period: TEST.EVAL_PERIOD.
            evaluate: function without arguments, gives the results in the main process.
            checkpointer: of the run.
            metric: TEST.BEST_METRIC; higher is better.
            patience: TEST.PATIENCE.
        """
        super().__init__(period, self._keep_results)
        self._evaluate = evaluate
        self._results = None
        self._checkpointer = checkpointer
        self.metric = metric
        self.patience = patience
        self.best, self.best_iteration = -math.inf, None
        self.stale = 0  # evaluations since the best one
        self.evaluated = 0  # iterations that were done at the last evaluation
        self._stopped = False

    def _keep_results(self):
        self._results = self._evaluate()
        return self._results

    def before_train(self):
        start = self.trainer.start_iter
        missed = self._period > 0 and start % self._period == 0 and self.evaluated < start
        if self.metric and missed and start < self.trainer.max_iter:
            # as after the last step before the checkpoint
            self.trainer.iter = self.trainer.storage.iter = start - 1
            self._do_eval()

    def before_step(self):
        if self.metric and 0 < self.patience <= self.stale:
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
        if not self._stopped:
            super().after_train()
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
        if value > self.best:  # never of NaN: nothing was found
            self.best, self.best_iteration, self.stale = value, done, 0
            logger.info("%s %.3f is the best so far: model_best.pth", self.metric, value)
            self._checkpointer.save("model_best", is_last=False, iteration=done - 1)
        else:
            self.stale += 1
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

    def state_dict(self):
        if not self.metric:
            return {}
        names = ("metric", "best", "best_iteration", "stale", "evaluated")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state):
        if state["metric"] != self.metric:  # another metric has another best
            logger.info("TEST.BEST_METRIC was %r: the best starts anew", state["metric"])
            return
        vars(self).update(state)
