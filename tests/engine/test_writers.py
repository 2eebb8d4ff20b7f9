"""The line of a report: what is on the console, what is in log.txt."""

import logging

import pytest
from detectron2.utils.events import EventStorage

from dense_ssl.engine import writers
from dense_ssl.engine.writers import WIDTH, ReportPrinter
from dense_ssl.utils.events import watched_names

MASK_RCNN = {"loss_cls": 0.92, "loss_box_reg": 0.0079, "loss_mask": 0.69, "loss_rpn_cls": 0.68,
             "loss_rpn_loc": 0.037}  # fmt: skip


@pytest.fixture
def lines(monkeypatch):
    """The records of the printer."""
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    before = writers.logger.level
    writers.logger.addHandler(handler)
    writers.logger.setLevel(logging.INFO)
    monkeypatch.setattr(writers.torch.cuda, "is_available", lambda: False)
    yield records
    writers.logger.removeHandler(handler)
    writers.logger.setLevel(before)


def _report(printer, values, iteration=19, watched=(), early=False):
    with EventStorage(iteration) as storage:
        for name, value in {"data_time": 0.01, "lr": 0.005, **values}.items():
            storage.put_scalar(name, value, smoothing_hint="/" not in name)
        watched_names(storage).update(watched)
        printer.write_early() if early else printer.write()
    return storage


def test_a_pretraining_shows_losses_first_and_its_health(lines):
    values = {"total_loss": 2.083, "loss_scrl": 2.083, "time": 2.0, "scrl/feature_std": 0.8,
              "backbone/angle": 2.54, "backbone/res4_angle": 1.5, "scrl/overlap_rate": 0.75,
              "momentum": 0.99}  # fmt: skip
    _report(ReportPrinter(45, 4, 364), values, watched={"scrl/feature_std"})
    (record,) = lines
    assert record.console == (
        "iter 20/45  loss 2.083  std 0.80  angle 2.5  lr 0.005  2 s/it  eta 0:00:50  epoch 0.22"
    )
    # the file has every metric
    for name, value in values.items():
        assert f"  {name}: {value:.4g}" in record.getMessage()
    assert "eta 0:00:50" in record.getMessage()


def test_the_speed_is_that_between_two_reports(lines, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(writers.time, "perf_counter", lambda: clock[0])
    printer = ReportPrinter(45, 4)
    for iteration in (19, 39):
        clock[0] += 8.0
        _report(printer, {"total_loss": 2.0, "time": 0.1}, iteration)
    first, second = (x.getMessage() for x in lines)
    assert "img/s" not in first and "  10.0 img/s" in second


def test_the_first_step_has_no_time_yet_and_the_second_has_an_eta(lines):
    printer = ReportPrinter(45, 4, 364)
    _report(printer, {"total_loss": 2.0}, iteration=0, early=True)
    _report(printer, {"total_loss": 2.0, "time": 1.0}, iteration=1, early=True)
    assert [x.console for x in lines] == [
        "iter 1/45  loss 2  lr 0.005  epoch 0.01",
        "iter 2/45  loss 2  lr 0.005  1 s/it  eta 0:00:43  epoch 0.02",
    ]
    assert [x.getMessage() for x in lines] == [x.console for x in lines]


def test_only_a_report_leaves_a_metric(lines):
    values = {"total_loss": 2.0, "time": 1.0}
    early = _report(ReportPrinter(45, 4), values, early=True)
    full = _report(ReportPrinter(45, 4), values)
    assert "eta_seconds" not in early.histories()
    assert full.history("eta_seconds").latest() == 25


def test_every_loss_of_a_detector_is_shown(lines):
    _report(ReportPrinter(9000, 16, 1180), {"total_loss": 2.33, "time": 0.51, **MASK_RCNN})
    assert lines[0].console == (
        "iter 20/9000  loss 2.33 (cls 0.92 box_reg 0.0079 mask 0.69 rpn_cls 0.68 rpn_loc 0.037)"
        "  lr 0.005  0.51 s/it  eta 1:16:19"
    )


@pytest.mark.parametrize("count", [3, 9, 40])
def test_a_line_fits_a_terminal_and_names_the_largest_losses(lines, count):
    losses = {f"loss_patch_res{i}": float(i + 1) for i in range(count)}
    values = {"total_loss": 99.0, "time": 1.0, "dupr/feature_std": 0.5, "dupr/top1": 0.2, **losses}
    _report(ReportPrinter(90000, 16, 118000), values, watched={"dupr/feature_std"})
    line = lines[0].console
    assert len(line) <= WIDTH
    assert f"patch_res{count - 1} {count}" in line
    assert ("more)" in line) == (count > 3)


def test_waiting_for_data_is_shown(lines):
    _report(ReportPrinter(45, 4), {"total_loss": 2.0, "time": 1.0, "data_time": 0.4})
    assert "1 s/it (data 40%)" in lines[0].console


def test_the_objective_that_is_nearest_to_collapse_is_shown(lines):
    values = {"total_loss": 2.0, "a/feature_std": 0.7, "b/feature_std": 0.04}
    _report(ReportPrinter(45, 4), values, watched={"a/feature_std", "b/feature_std"})
    assert "std 0.04" in lines[0].console
