"""When a run reports, the console before its first step, and its curves."""

import json
import logging
import os
import re
import types

import pytest
from detectron2.engine import default_argument_parser
from detectron2.utils.events import EventWriter
from helpers import CONFIGS, train

from dense_ssl.engine import Trainer, reports, setup
from dense_ssl.engine.reports import DrawCurves, Reports
from dense_ssl.engine.writers import ReportPrinter


class _Printer(ReportPrinter):
    """Remembers the steps of its lines."""

    def __init__(self):
        self.full, self.early = [], []

    def write(self):
        self.full.append(self.trainer.iter + 1)

    def write_early(self):
        self.early.append(self.trainer.iter + 1)


class _Writer(EventWriter):
    def __init__(self):
        self.count = 0

    def write(self):
        self.count += 1


@pytest.mark.parametrize(
    "seconds, early",
    [
        (0.1, [1]),  # as in detectron2, and the first step
        (4.0, [1, 4, 7, 10, 13, 16, 19, 35]),  # ten seconds until the first report, then a minute
        (70.0, [*range(1, 20), *range(21, 40), *range(41, 45)]),
    ],
)
def test_no_long_silence(monkeypatch, seconds, early):
    clock = [0.0]
    monkeypatch.setattr(reports.time, "monotonic", lambda: clock[0])
    printer, other = _Printer(), _Writer()
    hook = Reports([printer, other], period=20)
    hook.trainer = printer.trainer = types.SimpleNamespace(iter=0, start_iter=0, max_iter=45)
    hook.before_train()
    for hook.trainer.iter in range(45):
        clock[0] += seconds
        hook.after_step()
    assert printer.early == early
    assert printer.full == [20, 40, 45]
    assert other.count == 3  # metrics.json does not depend on the clock


def test_early_lines_leave_metrics_json_as_it_is(pretrain_config, monkeypatch, tmp_path):
    records = []
    for silence in (1e9, 0.0):
        monkeypatch.setattr(reports, "FIRST_SILENCE", silence)
        cfg = pretrain_config("BYOL", "OUTPUT_DIR", str(tmp_path / str(silence)))
        train(cfg)
        with open(os.path.join(cfg.OUTPUT_DIR, "metrics.json")) as file:
            records.append([json.loads(x) for x in file])
    first, second = records
    clock = ("time", "data_time", "eta_seconds", "rank_data_time")
    assert [{k: v for k, v in x.items() if k not in clock} for x in first] == [
        {k: v for k, v in x.items() if k not in clock} for x in second
    ]
    assert [x.keys() for x in first] == [x.keys() for x in second]


def test_curves_are_drawn_also_of_a_run_that_was_killed(pretrain_config):
    cfg = pretrain_config("BYOL", "SOLVER.MAX_ITER", 6)
    train(cfg, kill_at=4)
    assert os.path.getsize(os.path.join(cfg.OUTPUT_DIR, "curves.png")) > 1000


def test_a_fault_of_the_curves_does_not_end_a_run(monkeypatch, caplog, tmp_path):
    def fail(*_):
        raise RuntimeError("no font")

    monkeypatch.setattr(reports, "draw_run", fail)
    monkeypatch.setattr(reports.logger, "propagate", True)
    hook = DrawCurves(str(tmp_path), period=1)
    hook.trainer = types.SimpleNamespace(iter=0)
    with caplog.at_level(logging.WARNING, reports.logger.name):
        reports.logger.addHandler(caplog.handler)
        hook.after_step()
        hook.after_step()
        hook.after_train()
        reports.logger.removeHandler(caplog.handler)
    assert len({x.getMessage() for x in caplog.records}) == 1
    assert "no font" in caplog.records[0].getMessage()


SMALL = ("SOLVER.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "2", "SOLVER.WARMUP_ITERS", "0",
         "SEED", "1", "DATALOADER.NUM_WORKERS", "0", "MODEL.DEVICE", "cpu")  # fmt: skip


@pytest.mark.usefixtures("restore_process", "restore_catalogs")
@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_few_lines_before_the_first_step(image_folder, scenes, tmp_path, capfd, stage):
    if stage == "pretrain":
        config = CONFIGS / "mini" / "pretrain" / "scrl_R_18.yaml"
        options = ["DATASETS.TRAIN", f"folder:{image_folder}", "SOLVER.EPOCHS", "0",
                   "SOLVER.WARMUP_EPOCHS", "0", "SOLVER.CHECKPOINT_EPOCHS", "0",
                   "INPUT.VIEWS.SIZE", "(64,)", "INPUT.VIEWS.MIN_OVERLAP", "16"]  # fmt: skip
    else:
        config = CONFIGS / "mini/finetune/COCO-Detection/faster_rcnn_R_18_FPN.yaml"
        train_set = f"coco:{scenes}/annotations/instances_train.json:{scenes}/train"
        options = ["DATASETS.TRAIN", train_set, "DATASETS.TEST", "()"]
    args = default_argument_parser().parse_args(
        ["--config-file", str(config), *options, *SMALL, "OUTPUT_DIR", str(tmp_path / "out")]
    )
    cfg = setup(args)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    output = capfd.readouterr().out
    before, _, after = output.partition("iter 1/2  loss")
    lines = before.splitlines()
    assert 5 <= len(lines) <= 40, output
    for word in ("torch", "Config:", "Model:", "config.yaml", "log.txt"):
        assert sum(word in x for x in lines) >= 1, word
    assert len(set(lines)) == len(lines)  # no handler twice
    assert re.match(r" [\d.]+.*\n", after)
    log = (tmp_path / "out" / "log.txt").read_text()
    for text in ("Environment info:", "Running with full config:", "BatchNorm2d(", "iter 1/2"):
        assert text in log


@pytest.mark.usefixtures("restore_process")
def test_warnings_stay_on_the_console(tmp_path, capfd):
    from dense_ssl.engine.console import setup_console

    setup_console(str(tmp_path))
    for name in ("detectron2.data.build", "fvcore.common.checkpoint", "dense_ssl.x", "detectron2"):
        logging.getLogger(name).warning("bad %s", name)
        logging.getLogger(name).info("fine %s", name)
    shown = capfd.readouterr().out
    assert shown.count("WARNING: bad") == 4
    assert re.findall(r"fine (\S+)", shown) == ["dense_ssl.x", "detectron2"]
    assert (tmp_path / "log.txt").read_text().count("fine") == 4
