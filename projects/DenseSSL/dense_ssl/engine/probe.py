"""The online probe: what the backbone of a pre-training has learned so far (TEST.PROBE)."""

import logging
import math
import time

from detectron2.data import MetadataCatalog
from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage

from ..analysis.region_probe import RegionProbe
from ..data.sources.entries import resolve_dataset
from ..utils.checks import require_positive
from ..utils.events import LOG_PERIOD, report_now
from .best import KeepsBest

logger = logging.getLogger(__name__)

BEST = "backbone_best"
# Probes of a run, at most, where it chooses the period itself.
_PROBES = 20
# What makes values of the metric comparable.
_SAME = ("TRAIN", "TEST", "FEATURES", "SIDE", "IMAGES", "REGIONS", "CELL", "RIDGE")


def check_probe(cfg, is_pretraining):
    """Raise before training if TEST.PROBE cannot work.

    Args:
        cfg: config.
        is_pretraining: False for a detector.
    """
    node = cfg.TEST.PROBE
    if not node.TRAIN and not node.TEST:
        return
    if not is_pretraining:
        raise ValueError(
            "TEST.PROBE watches a pre-training, but MODEL.META_ARCHITECTURE is "
            f"{cfg.MODEL.META_ARCHITECTURE!r}. Leave TEST.PROBE.TRAIN and TEST.PROBE.TEST empty."
        )
    for key, other in (("TRAIN", "TEST"), ("TEST", "TRAIN")):
        if not node[key]:
            raise ValueError(
                f"TEST.PROBE.{other} is {node[other]!r}, but TEST.PROBE.{key} is empty: the probe "
                "needs labelled data to learn from (TRAIN) and others to test on (TEST)."
            )
    positive = ("SHARE", "SIDE", "IMAGES", "REGIONS", "CELL", "NEIGHBOURS", "RIDGE")
    require_positive(cfg, *(f"TEST.PROBE.{x}" for x in positive))
    if node.PERIOD < 0:
        raise ValueError(f"TEST.PROBE.PERIOD is {node.PERIOD}; it must not be negative.")
    if node.SIDE % node.CELL:
        raise ValueError(
            f"TEST.PROBE.CELL is {node.CELL}, which does not divide TEST.PROBE.SIDE {node.SIDE}."
        )
    for key in ("TRAIN", "TEST"):
        entry = resolve_dataset(node[key], f"TEST.PROBE.{key}")
        if not MetadataCatalog.get(entry).get("has_labels", True):
            raise ValueError(f"TEST.PROBE.{key}: {entry!r} has no labels. Name labelled data.")


class OnlineProbe(KeepsBest, HookBase):
    """Probes the online backbone before the first step, now and then, and after the last step.

    Results are ``probe/...`` in the event storage; the backbone with the best ``probe/linear`` is
    kept as backbone_best.pkl. All processes share the images of a probe.

    A probe does not change the training: it runs a copy of the backbone and draws no random number.
    It comes before the checkpointer, so that a checkpoint knows the probe of its iteration.
    """

    kept = (*KeepsBest.kept, "start", "chosen_period", "settings", "seconds")

    def __init__(self, cfg, model, checkpointer):
        """
        Args:
            cfg: config with TEST.PROBE.
            model: :class:`~dense_ssl.modeling.Pretrainer`.
            checkpointer: :class:`~dense_ssl.checkpoint.Checkpointer` of the run.
        """
        super().__init__("probe/linear")
        self.node = cfg.TEST.PROBE
        self.model = model
        self.checkpointer = checkpointer
        self.settings = {x: str(self.node[x]) for x in _SAME}
        self.start = None  # value before the first step
        self.chosen_period = 0
        self._input_format = cfg.INPUT.FORMAT
        self._clock = _Clock()
        self.seconds = 0.0  # of the last probe, if need be of the run before it was resumed

    @property
    def period(self):
        """Iterations between probes; 0 if it is not chosen yet."""
        return self.node.PERIOD or self.chosen_period

    def before_train(self):
        with self._clock:
            pixels = self.model.pixel_mean, self.model.pixel_std
            self.probe = RegionProbe(self.node, self.model.backbone, *pixels, self._input_format)
        logger.info("Probe: %s", self.probe.describe())
        if self.trainer.start_iter == 0:
            results = self._measure()
            self.start = results.get("linear")
            if results:
                logger.info("Probe before the first step: linear %.1f, knn %.1f (%.1f s)",
                            results["linear"], results["knn"], self.seconds)  # fmt: skip

    def after_step(self):
        self._clock.count_step()
        done = self.trainer.iter + 1
        if self._clock.steps == LOG_PERIOD:
            self._plan()
        if done == self.trainer.max_iter or (self.period and done % self.period == 0):
            value = self._measure().get("linear")
            if value is not None and self.take(value, done, f"{BEST}.pkl"):
                self.checkpointer.save_backbone(BEST, iteration=done - 1, probe=value)

    def after_train(self):
        self.probe = None  # its images
        if self.best_iteration is None or self.trainer.iter < self.trainer.max_iter:
            return
        start = "" if self.start is None else f", {self.start:.1f} before the first step"
        logger.info(
            "Probe: the best linear value is %.1f, of iteration %d (%s.pkl)%s; probes took %.1f %% "
            "of the time", self.best, self.best_iteration, BEST, start, 100 * self._clock.share()
        )  # fmt: skip
        if self.start is not None and self.best <= self.start:
            logger.warning(
                f"No backbone of this run is better in the probe ({self.best:.1f}) than the one "
                f"that it began with ({self.start:.1f})."
            )

    def load_state_dict(self, state):
        if state["settings"] != self.settings:
            logger.info("TEST.PROBE has changed: its best value starts anew")
            return
        super().load_state_dict(state)

    def _measure(self):
        """Probe and log; return the results in the main process, {} elsewhere."""
        with self._clock:
            results = self.probe(self.model.backbone)
        self.seconds = self._clock.seconds
        if results:
            values = {**results, "seconds": self.seconds, "share": self._clock.share()}
            for name, value in values.items():
                get_event_storage().put_scalar(f"probe/{name}", value, smoothing_hint=False)
            report_now()
        return results

    def _plan(self):
        """Choose the period, unless it is stated, and warn where the probes take too long.

        The times are those of the main process. A resumed run keeps what was chosen.
        """
        clock, steps = self._clock, self.trainer.max_iter
        times = steps, clock.step_seconds, self.seconds
        affordable = comm.all_gather(affordable_period(*times, self.node.SHARE))[0]
        if not self.period:
            self.chosen_period = affordable
            logger.info(
                "Probe every %d iterations (TEST.PROBE.PERIOD 0): %.2g s each, %.2g s per step",
                affordable, self.seconds, clock.step_seconds
            )  # fmt: skip
        share = expected_share(*times, self.period)
        if share > self.node.SHARE and comm.is_main_process():
            period = f"TEST.PROBE.PERIOD {affordable}, or " if affordable > self.period else ""
            logger.warning(
                f"Probes will take {100 * share:.0f} % of the time, {self.seconds:.1f} s each "
                f"(TEST.PROBE.SHARE is {100 * self.node.SHARE:g} %). Set {period}a smaller "
                "TEST.PROBE.IMAGES or SIDE."
            )


def affordable_period(steps, step_seconds, probe_seconds, share):
    """Return the iterations between probes that keep them within a share of the time.

    Args:
        steps: of the run. step_seconds, probe_seconds: durations.
        share: of the time of the steps.

    Returns:
        a multiple of :data:`LOG_PERIOD`, at least a twentieth of the run; ``steps`` where there is
        time for the probes before the first and after the last step alone, or not even for them.
    """
    affordable = share * steps * step_seconds / max(probe_seconds, 1e-9) - 2
    if affordable < 1:
        return steps
    period = steps / min(affordable, _PROBES)
    return min(math.ceil(period / LOG_PERIOD) * LOG_PERIOD, steps)


def expected_share(steps, step_seconds, probe_seconds, period):
    """Return the share of the time of a run that its probes will take; arguments as above."""
    probes = (2 + (steps - 1) // period) * probe_seconds
    return probes / (probes + steps * step_seconds)


class _Clock:
    """Measures the steps and, as a context, the probes of this process.

    Attributes:
        seconds: in the context, the last time.
        steps: that are done.
    """

    def __init__(self):
        self.seconds, self.steps = 0.0, 0
        self._begin = self._entered = time.perf_counter()
        self._probes = 0.0
        self._first = None  # end of the first step, which takes longer, and the probes until then

    def __enter__(self):
        self._entered = time.perf_counter()

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self._entered
        self._probes += self.seconds

    def count_step(self):
        """Count a step that has just ended."""
        self.steps += 1
        if self.steps == 1:
            self._first = time.perf_counter(), self._probes

    @property
    def step_seconds(self):
        """Mean time of the steps after the first one, without probes."""
        start, probes = self._first
        elapsed = time.perf_counter() - start - (self._probes - probes)
        return elapsed / max(self.steps - 1, 1)

    def share(self):
        """Return the share of the time since the start that the probes took."""
        return self._probes / max(time.perf_counter() - self._begin, 1e-9)
