"""A collapsed run is recognised and reported."""

import logging

import pytest
import torch
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from helpers import build_trainer, recorded_log

from dense_ssl.engine import health
from dense_ssl.engine.health import PATIENCE, WatchForCollapse
from dense_ssl.utils.events import LOG_PERIOD, log_feature_std, put_scalar

SPREAD = "byol/feature_std"


class Clock:
    """In place of the trainer."""

    iter = 0


def log_spread(name, value):
    """Log vectors of this spread."""
    apart = torch.eye(200)
    log_feature_std(name, torch.ones(200, 200) + 10 * value * apart)


def watch(values, action="warn", name=SPREAD, log=log_spread):
    """Return the warnings of a run that logs these values."""
    hook = WatchForCollapse(action)
    hook.trainer = Clock()
    with EventStorage() as storage, recorded_log(health.__name__, logging.WARNING) as messages:
        for report, value in enumerate(values):
            for step in range(LOG_PERIOD):
                storage.iter = hook.trainer.iter = report * LOG_PERIOD + step
                if step == LOG_PERIOD - 1:
                    log(name, value)
                hook.after_step()
    return messages


@pytest.mark.parametrize("values, warned", [
    ([0.7] * 30, 0), ([0.01] * (PATIENCE - 1), 0), ([0.01] * PATIENCE, 1), ([0.01] * 50, 1),
    ([0.01] * (PATIENCE - 1) + [0.3] + [0.01] * (PATIENCE - 1), 0),
    ([0.7] * 5 + [0.001] * PATIENCE + [0.5] + [0.001] * PATIENCE, 2),
])  # fmt: skip
def test_only_what_stays_low_has_collapsed(values, warned):
    messages = watch(values)
    assert len(messages) == warned
    for message in messages:
        assert SPREAD in message and "SOLVER.BASE_LR" in message


def test_what_log_feature_std_logs_is_watched_whatever_its_name():
    assert watch([0.01] * PATIENCE, name="mine/spread_of_cells")
    assert not watch([0.01] * PATIENCE, name="mine/target_std", log=put_scalar)


def test_it_can_end_the_run():
    with pytest.raises(RuntimeError, match="has collapsed"):
        watch([0.01] * PATIENCE, "stop")
    watch([0.01] * (PATIENCE - 1), "stop")


def watch_as_one_of_two():
    """Return True if the run ends; only the features of the first process collapse."""
    try:
        watch([0.01 if comm.is_main_process() else 0.9] * (PATIENCE + 1), "stop")
    except RuntimeError:
        return True
    return False


def test_all_processes_end_when_the_first_one_does(process_pool):
    assert process_pool.run(watch_as_one_of_two) == [True, True]


def test_an_unknown_action_names_its_key():
    with pytest.raises(ValueError, match="MODEL.SSL.ON_COLLAPSE"):
        WatchForCollapse("ignore")


@pytest.mark.parametrize("collapsed", [True, False])
def test_a_run_whose_features_are_all_the_same_ends(pretrain_config, monkeypatch, collapsed):
    monkeypatch.setattr(health, "PATIENCE", 1)
    options = ("MODEL.SSL.ON_COLLAPSE", "stop", "SOLVER.MAX_ITER", LOG_PERIOD,
               "SOLVER.BASE_LR", 1e-9)  # fmt: skip
    trainer = build_trainer(pretrain_config("BYOL", *options))
    if collapsed:  # what a head gives does not depend on the image
        with torch.no_grad():
            trainer.model.objectives["BYOLObjective"].projector.output.weight.fill_(1e-6)
            bias = trainer.model.objectives["BYOLObjective"].projector.norm.bias
            bias.fill_(1000.0)
        with pytest.raises(RuntimeError, match=SPREAD):
            trainer.train()
    else:
        trainer.train()
