"""The best detector by a metric, early stopping, and both after a resume and in two processes."""

import logging
import os

import helpers
import pytest
import torch
from detectron2.utils import comm
from helpers import build_trainer, recorded_log, train
from test_finetuning import build_config

from dense_ssl.engine import Trainer
from dense_ssl.engine import best as best_module
from dense_ssl.engine.best import EvaluateAndChoose
from dense_ssl.evaluation import check_best_metric

WATCHED = ("TEST.BEST_METRIC", "bbox/AP", "TEST.EVAL_PERIOD", 1, "MODEL.MASK_ON", False,
           "TEST.PRECISE_BN.ENABLED", False, "SOLVER.CHECKPOINT_PERIOD", 2)  # fmt: skip


class Scored(Trainer):
    """A trainer whose evaluations give these values in turn, in the main process."""

    scores = ()

    def _evaluate(self):
        self.evaluations = getattr(self, "evaluations", 0) + 1
        done = min(self.iter + 1, self.max_iter)
        return {"bbox": {"AP": self.scores[done - 1], "AP50": 1.0}} if comm.get_rank() == 0 else {}


def run(cfg, scores, resume=False, kill_at=None, monkeypatch=None):
    monkeypatch.setattr("helpers.Trainer", type("Scored", (Scored,), {"scores": scores}))
    return train(cfg, resume, kill_at)


def hook_of(trainer):
    return next(x for x in trainer._hooks if isinstance(x, EvaluateAndChoose))


def saved(cfg, name="model_best"):
    return torch.load(os.path.join(cfg.OUTPUT_DIR, f"{name}.pth"), weights_only=True)


def last_checkpoint(cfg):
    with open(os.path.join(cfg.OUTPUT_DIR, "last_checkpoint")) as file:
        return file.read()


@pytest.fixture
def config(scenes, tmp_path):
    return lambda *options: build_config(scenes, tmp_path / "out", *WATCHED, *options)


def test_the_best_detector_is_kept_and_is_not_what_resume_takes(config, monkeypatch):
    cfg = config("SOLVER.MAX_ITER", 4)
    hook = hook_of(run(cfg, (1.0, 3.0, 2.0, float("nan")), monkeypatch=monkeypatch))
    assert (hook.best, hook.best_iteration, hook.stale) == (3.0, 2, 2)
    assert saved(cfg)["iteration"] == 1
    assert last_checkpoint(cfg) == "model_final.pth"
    best, second = saved(cfg)["model"], saved(cfg, "model_0000001")["model"]
    assert all(torch.equal(best[key], second[key]) for key in second)
    cfg = config("SOLVER.MAX_ITER", 6)  # killed after a best one that is newer than the checkpoint
    run(cfg, (1.0, 2.0, 3.0), kill_at=3, monkeypatch=monkeypatch)
    assert saved(cfg)["iteration"] == 2 and last_checkpoint(cfg) == "model_0000001.pth"


def test_what_finds_nothing_yet_is_not_stopped(config, monkeypatch, caplog):
    nan = float("nan")
    cfg = config("TEST.PATIENCE", 2, "SOLVER.MAX_ITER", 7)
    trainer = run(cfg, (nan, nan, nan, 2.0, nan, 1.0, 5.0), monkeypatch=monkeypatch)
    hook = hook_of(trainer)
    assert (hook.best, hook.best_iteration, hook.stale) == (2.0, 4, 2) and trainer.iter == 6
    assert trainer.evaluations == 6


def test_a_run_that_stops_improving_ends(config, monkeypatch):
    cfg = config("TEST.PATIENCE", 2, "SOLVER.MAX_ITER", 7)
    scores = (1.0, 3.0, 2.0, 2.5, 9.0, 9.0, 9.0)
    with recorded_log(best_module.__name__, logging.INFO) as messages:
        trainer = run(cfg, scores, monkeypatch=monkeypatch)
    assert trainer.iter == 4 and trainer.evaluations == 4
    assert any(x.startswith("Training stops: 2 evaluations") for x in messages)
    assert saved(cfg)["iteration"] == 1
    assert last_checkpoint(cfg) == "model_final.pth" and saved(cfg, "model_final")["iteration"] == 3
    again = run(cfg, scores, resume=True, monkeypatch=monkeypatch)  # has ended already
    assert again.start_iter == again.iter == 4 and not hasattr(again, "evaluations")


@pytest.mark.parametrize("killed", [3, 4])  # within, and right after, the time between checkpoints
def test_a_resumed_run_keeps_the_best_and_the_count(config, monkeypatch, killed):
    cfg = config("TEST.PATIENCE", 3, "SOLVER.MAX_ITER", 9)
    scores = (1.0, 3.0, 2.0, 2.5, 1.0, 9.0, 9.0, 9.0, 9.0)
    run(cfg, scores, kill_at=killed, monkeypatch=monkeypatch)
    trainer = run(cfg, scores, resume=True, monkeypatch=monkeypatch)
    hook = hook_of(trainer)
    assert (trainer.start_iter, trainer.iter) == (killed // 2 * 2, 5)
    assert (hook.best, hook.best_iteration, hook.stale) == (3.0, 2, 3)


def test_another_metric_starts_anew(config, monkeypatch):
    run(config("SOLVER.MAX_ITER", 4), (4.0, 4.0, 4.0, 4.0), kill_at=3, monkeypatch=monkeypatch)
    cfg = config("SOLVER.MAX_ITER", 4, "TEST.BEST_METRIC", "bbox/AP50")
    hook = hook_of(run(cfg, (4.0, 4.0, 4.0, 4.0), resume=True, monkeypatch=monkeypatch))
    assert hook.best == 1.0


def test_a_metric_that_the_evaluation_does_not_give_lists_those_that_it_gives(config, monkeypatch):
    cfg = config("TEST.BEST_METRIC", "bbox/AP-cat")
    monkeypatch.setattr("helpers.Trainer", type("Scored", (Scored,), {"scores": (1.0, 1.0)}))
    trainer = build_trainer(cfg)
    trainer.resume_or_load(resume=False)
    with pytest.raises(ValueError, match=r"'bbox/AP-cat'.*It gives bbox/AP, bbox/AP50\."):
        trainer.train()


def test_what_cannot_work_is_said_at_the_start(config):
    check_best_metric(config())
    check_best_metric(config("TEST.BEST_METRIC", "bbox/AP-square"))
    check_best_metric(config("TEST.BEST_METRIC", ""))
    check_best_metric(config("TEST.BEST_METRIC", "segm/AP75", "MODEL.MASK_ON", True))
    for options, message in (
        (("TEST.BEST_METRIC", "AP"), "It gives bbox/AP, bbox/AP50, bbox/AP75"),
        (("TEST.BEST_METRIC", "segm/AP"), "does not give"),
        (("TEST.BEST_METRIC", "sem_seg/IoU-car"), "does not give"),
        (("TEST.BEST_METRIC", "", "TEST.PATIENCE", 2), "set TEST.BEST_METRIC"),
        (("TEST.PATIENCE", -1), "TEST.PATIENCE is -1"),
        (("TEST.EVAL_PERIOD", 0), "TEST.EVAL_PERIOD is 0 .* TEST.BEST_METRIC to ''"),
        (("DATASETS.TEST", ()), "DATASETS.TEST"),
    ):
        with pytest.raises(ValueError, match=message):
            check_best_metric(config(*options))


def stops_at(scenes, output):
    """(iterations, best, count) of a run in this process."""
    helpers.Trainer = type("Scored", (Scored,), {"scores": (3.0, 2.0, 1.0, 9.0, 9.0, 9.0)})
    try:
        trainer = train(build_config(scenes, output, *WATCHED, "TEST.PATIENCE", 2))
    finally:
        helpers.Trainer = Trainer
    hook = hook_of(trainer)
    return trainer.iter, hook.best, hook.stale


def test_two_processes_stop_together(process_pool, scenes, tmp_path):
    assert process_pool.run(stops_at, scenes, tmp_path / "two") == [(3, 3.0, 2)] * 2


class FailsAtLast(Scored):
    """Its last step fails."""

    def run_step(self):
        super().run_step()
        if self.iter + 1 == self.max_iter:
            raise OSError("No space left on device")


def test_a_last_step_that_fails_is_not_evaluated(config, monkeypatch):
    trainers = []
    kind = type("Failing", (FailsAtLast,), {"scores": (1.0, 2.0)})
    monkeypatch.setattr("helpers.Trainer", kind)
    monkeypatch.setattr(kind, "__init__", lambda self, cfg: trainers.append(self)
                        or super(kind, self).__init__(cfg))  # fmt: skip
    with pytest.raises(OSError, match="No space left"):
        train(config("SOLVER.MAX_ITER", 2, "TEST.EVAL_PERIOD", 0))
    assert not hasattr(trainers[0], "evaluations")


def test_a_run_within_an_except_block_is_evaluated(config, monkeypatch):
    """Such as a second try after an error: that error is not this run's."""
    try:
        raise RuntimeError("out of memory")
    except RuntimeError:
        cfg = config("SOLVER.MAX_ITER", 1, "TEST.EVAL_PERIOD", 0)
        assert run(cfg, (1.0,), monkeypatch=monkeypatch).evaluations == 1
