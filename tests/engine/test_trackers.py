"""Weights & Biases and MLflow: what they get, resume, failures; with modules that only record."""

import json
import sys
import types

import pytest
from detectron2.utils.events import EventStorage
from helpers import train

from dense_ssl.config import default_config
from dense_ssl.config.packages import check_packages
from dense_ssl.engine import trackers
from dense_ssl.engine.trackers import IDS, build_trackers, check_trackers


class FakeWandb(types.ModuleType):
    """Records the calls of wandb; ids are run0, run1, ..."""

    def __init__(self):
        super().__init__("wandb")
        self.runs, self.logged, self.ends, self.metrics = [], [], [], []
        self.error = None

    def init(self, **options):
        self.runs.append(options)
        run_id = options["id"] or f"run{len(self.runs) - 1}"
        return types.SimpleNamespace(
            id=run_id, log=self._log, define_metric=self._define, finish=self._finish
        )

    def _define(self, name, **options):
        self.metrics.append((name, options))

    def _log(self, values):
        if self.error:
            raise self.error
        self.logged.append(values)

    def _finish(self, exit_code):
        self.ends.append(exit_code)


class FakeMlflow(types.ModuleType):
    """Records the calls of a client of MLflow."""

    def __init__(self):
        super().__init__("mlflow")
        self.entities = types.ModuleType("mlflow.entities")
        self.entities.Metric = lambda *x: x
        self.calls, self.experiments, self.count = [], {}, 0
        self.MlflowClient = lambda: self

    def get_experiment_by_name(self, name):
        found = self.experiments.get(name)
        return found and types.SimpleNamespace(experiment_id=found)

    def create_experiment(self, name):
        return self.experiments.setdefault(name, f"e{len(self.experiments)}")

    def create_run(self, experiment, run_name):
        self.count += 1
        self.calls.append(("create", experiment, run_name))
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=f"m{self.count}"))

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self.calls.append((name, *args, kwargs))


@pytest.fixture
def wandb(monkeypatch):
    module = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


@pytest.fixture
def mlflow(monkeypatch):
    module = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", module.entities)
    return module


def _metrics(folder):
    with open(folder / "metrics.json") as file:
        return [json.loads(x) for x in file]


def test_wandb_gets_metrics_json_and_a_resumed_run_goes_on_with_the_same_one(
    wandb, pretrain_config, tmp_path
):
    options = ("LOG.WRITERS", ("wandb",), "LOG.PROJECT", "cells", "SOLVER.CHECKPOINT_PERIOD", 3)
    cfg = pretrain_config("BYOL", *options, "SOLVER.MAX_ITER", 6)
    train(cfg, kill_at=4)
    train(cfg, resume=True)
    train(cfg)  # again from the start
    first, second, third = wandb.runs
    assert (first["project"], first["name"], first["id"]) == ("cells", "output", None)
    assert first["config"]["MODEL"]["META_ARCHITECTURE"] == "BYOL"
    assert (second["id"], second["resume"]) == ("run0", "allow")
    assert third["id"] is None
    assert ("*", {"step_metric": "iteration"}) in wandb.metrics
    assert wandb.ends == [1, 0, 0]  # the first one was interrupted
    assert wandb.logged == _metrics(tmp_path / "output")


def test_mlflow_gets_metrics_config_and_the_same_run(mlflow, pretrain_config, tmp_path):
    options = ("LOG.WRITERS", ("mlflow",), "LOG.NAME", "try", "SOLVER.CHECKPOINT_PERIOD", 3)
    cfg = pretrain_config("BYOL", *options, "SOLVER.MAX_ITER", 6)
    train(cfg, kill_at=4)
    train(cfg, resume=True)
    assert [x for x in mlflow.calls if x[0] == "create"] == [("create", "e0", "try")]
    assert mlflow.experiments == {"dense-ssl": "e0"}
    (text,) = [x for x in mlflow.calls if x[0] == "log_text"]
    assert text[1] == "m1" and "META_ARCHITECTURE: BYOL" in text[2]
    assert [x[:3] for x in mlflow.calls if x[0] == "set_terminated"] == [
        ("set_terminated", "m1", "FAILED"),
        ("set_terminated", "m1", "FINISHED"),
    ]
    sent = {}
    for name, *args in mlflow.calls:
        if name == "log_batch":
            for key, value, _, step in args[1]["metrics"]:
                sent.setdefault(step, {})[key] = value
    for record in _metrics(tmp_path / "output"):
        step = record.pop("iteration")
        assert record.items() <= sent[step].items()


def test_mlflow_takes_names_of_any_class(mlflow, tmp_path):
    cfg = _config(tmp_path, "mlflow")
    (tracker,) = build_trackers(cfg)
    tracker.start(is_resumed=False)
    with EventStorage(1) as storage:
        storage.put_scalar("bbox/AP-stop (sign), Straße", 3.0, smoothing_hint=False)
        tracker.write()
    ((name, *_),) = mlflow.calls[-1][-1]["metrics"]
    assert name == "bbox/AP-stop _sign__ Straße"


def _config(folder, *names):
    cfg = default_config()
    cfg.OUTPUT_DIR = str(folder)
    cfg.LOG.WRITERS = names
    return cfg


def test_a_service_that_fails_does_not_end_a_run(wandb, tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(trackers.logger, "warning", lambda text, *x: warnings.append(text % x))
    (tracker,) = build_trackers(_config(tmp_path, "wandb"))
    tracker.start(is_resumed=False)
    wandb.error = ConnectionError("no network")
    for iteration in (19, 39):
        with EventStorage(iteration) as storage:
            storage.put_scalar("total_loss", 2.0)
            tracker.write()
    tracker.end(is_complete=True)
    assert len(warnings) == 1 and "no network" in warnings[0]


def test_both_ids_are_kept(wandb, mlflow, tmp_path):
    for tracker in build_trackers(_config(tmp_path, "wandb", "mlflow")):
        tracker.start(is_resumed=True)  # there is no id yet: they begin
    assert json.loads((tmp_path / IDS).read_text()) == {"wandb": "run0", "mlflow": "m1"}


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_named_before_anything_is_built(monkeypatch, tmp_path, name):
    from dense_ssl.utils import packages

    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda x: None)
    with pytest.raises(ImportError, match=f"LOG.WRITERS.*{name} is not installed.*pip install"):
        check_packages(_config(tmp_path, name))
    check_packages(_config(tmp_path, name), eval_only=True)


def test_a_wrong_name_lists_the_right_ones(tmp_path):
    with pytest.raises(ValueError, match="LOG.WRITERS.*neptune.*wandb.*mlflow"):
        check_trackers(_config(tmp_path, "neptune"))


def test_a_single_name_needs_no_tuple():
    cfg = default_config()
    cfg.merge_from_list(["LOG.WRITERS", "wandb"])
    assert cfg.LOG.WRITERS == ("wandb",)
