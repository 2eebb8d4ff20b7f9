"""Weights & Biases and MLflow, beside metrics.json: LOG.WRITERS."""

import json
import logging
import os
import re
import time

import yaml
from detectron2.utils.events import EventWriter, get_event_storage

from ..utils.atomic_file import atomic_file
from ..utils.checks import require_one_of

logger = logging.getLogger(__name__)

# In OUTPUT_DIR: the ids of the run there, so that a resumed run goes on with the same one.
IDS = "trackers.json"


def check_trackers(cfg):
    """Raise ValueError if LOG.WRITERS has an unknown name."""
    for name in cfg.LOG.WRITERS:
        require_one_of("LOG.WRITERS", name, tuple(_TRACKERS))


def build_trackers(cfg):
    """Return the writers of LOG.WRITERS."""
    return [_TRACKERS[name](cfg) for name in cfg.LOG.WRITERS]


class Tracker(EventWriter):
    """Sends every scalar of metrics.json to a service; a failure in the middle of a run is logged.

    Attributes:
        name: of the service, as in LOG.WRITERS.
    """

    name = ""

    def __init__(self, cfg):
        self.project = cfg.LOG.PROJECT
        self.run_name = cfg.LOG.NAME or os.path.basename(os.path.abspath(cfg.OUTPUT_DIR))
        self.folder = cfg.OUTPUT_DIR
        self.config = cfg.dump()
        self._last_write = -1
        self._is_open = False

    def start(self, is_resumed):
        """Open the run; errors end the program, as nothing has been trained yet.

        Args:
            is_resumed: go on with the run that the output folder names.
        """
        path = os.path.join(self.folder, IDS)
        ids = {}
        if os.path.isfile(path):
            with open(path, encoding="utf-8") as file:
                ids = json.load(file)
        ids[self.name] = self._open(ids.get(self.name) if is_resumed else None)
        with atomic_file(path) as file:
            file.write(json.dumps(ids).encode())
        self._is_open = True
        logger.info("%s: run %s of project %s", self.name, ids[self.name], self.project)

    def write(self):
        if not self._is_open:
            return
        by_iteration = {}
        for name, (value, step) in get_event_storage().latest_with_smoothing_hint(20).items():
            if step > self._last_write:
                by_iteration.setdefault(step, {})[name] = float(value)
        for step in sorted(by_iteration):
            self._last_write = step
            self._try(self._send, step, by_iteration[step])

    def end(self, is_complete):
        """Close the run.

        Args:
            is_complete: False if an error or a user ended it.
        """
        if self._is_open:
            self._try(self._close, is_complete)
            self._is_open = False

    def _try(self, function, *arguments):
        try:
            function(*arguments)
        except Exception as error:  # whatever a service raises is no reason to lose the training
            self._is_open = False
            logger.warning("%s failed, nothing more is sent there; metrics.json is complete: %r",
                           self.name, error)  # fmt: skip

    def _open(self, run_id):
        """Open the run ``run_id``, or a new one if it is None; return its id."""
        raise NotImplementedError

    def _send(self, iteration, values):
        """Send {name: float} of an iteration."""
        raise NotImplementedError

    def _close(self, is_complete):
        raise NotImplementedError


class WandbTracker(Tracker):
    """Weights & Biases. WANDB_MODE=offline writes to OUTPUT_DIR/wandb, for `wandb sync`."""

    name = "wandb"

    def _open(self, run_id):
        import wandb

        self._run = wandb.init(
            project=self.project,
            name=self.run_name,
            dir=self.folder,
            config=yaml.safe_load(self.config),
            id=run_id,
            resume="allow" if run_id else None,
        )
        # not wandb's own step, which may not go back, as it does after a resume
        self._run.define_metric("iteration")
        self._run.define_metric("*", step_metric="iteration")
        return self._run.id

    def _send(self, iteration, values):
        self._run.log({**values, "iteration": iteration})

    def _close(self, is_complete):
        self._run.finish(exit_code=0 if is_complete else 1)


class MlflowTracker(Tracker):
    """MLflow, at MLFLOW_TRACKING_URI or where MLflow stores by default."""

    name = "mlflow"

    def _open(self, run_id):
        from mlflow import MlflowClient

        self._client = MlflowClient()
        if run_id is None:
            found = self._client.get_experiment_by_name(self.project)
            experiment = (
                found.experiment_id if found else self._client.create_experiment(self.project)
            )
            run_id = self._client.create_run(experiment, run_name=self.run_name).info.run_id
            self._client.log_text(run_id, self.config, "config.yaml")
        else:
            self._client.update_run(run_id, status="RUNNING")
        self._run_id = run_id
        return run_id

    def _send(self, iteration, values):
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        # names may hold classes of the user's data, in any script and with any sign
        metrics = [Metric(re.sub(r"[^\w.\- /]", "_", x), value, now, iteration)
                   for x, value in values.items()]  # fmt: skip
        for first in range(0, len(metrics), 500):  # a request takes 1000
            self._client.log_batch(self._run_id, metrics=metrics[first : first + 500])

    def _close(self, is_complete):
        self._client.set_terminated(self._run_id, "FINISHED" if is_complete else "FAILED")


_TRACKERS = {x.name: x for x in (WandbTracker, MlflowTracker)}
