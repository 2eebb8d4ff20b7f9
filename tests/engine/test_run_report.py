"""run.json and report.html of a run: LOG.REPORT."""

import json
import subprocess
import sys

import pytest
from helpers import KillAt, Killed, build_trainer, recorded_log, train

from dense_ssl.engine.run_report import RunReport
from dense_ssl.reports.run_record import RECORD, quoted, read_record, record_start


@pytest.fixture
def config(pretrain_config):
    def build(*options):
        return pretrain_config("BYOL", "LOG.REPORT", True, "SOLVER.MAX_ITER", 2, *options)

    return build


def test_a_run_writes_both_files(config, tmp_path):
    with recorded_log("dense_ssl.engine.run_report", "INFO") as log:
        train(config())
    folder = tmp_path / "output"
    assert "loss_byol" in (folder / "report.html").read_text(encoding="utf-8")
    assert any(x.startswith(f"Report: {folder / 'report.html'} (") for x in log)
    record = json.loads((folder / RECORD).read_text())
    [start] = record["starts"]
    assert start["iteration"] == 0 and start["processes"] == 1 and start["device"].startswith("cpu")
    assert record["data"]["images"] == 24 and record["data"]["objects"] == {}
    assert {"torch", "python", "detectron2", "folder", "command"} <= set(start)


def test_it_can_be_turned_off(config, tmp_path):
    train(config("LOG.REPORT", False))
    assert not {"report.html", RECORD} & {x.name for x in (tmp_path / "output").iterdir()}


def test_a_resumed_run_adds_its_start(config, tmp_path):
    cfg = config("SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 2)
    trainer = build_trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.register_hooks([KillAt(3)])
    with pytest.raises(Killed):
        trainer.train()
    assert (tmp_path / "output" / "report.html").is_file()  # of the run that was ended
    train(cfg, resume=True)
    starts = read_record(tmp_path / "output")["starts"]
    assert [x["iteration"] for x in starts] == [0, 2]


def test_a_new_run_begins_a_new_record(tmp_path):
    for iteration in (0, 5, 0):
        record_start(tmp_path, iteration, "cpu", 1, {})
    assert [x["iteration"] for x in read_record(tmp_path)["starts"]] == [0]


@pytest.mark.parametrize(
    "word", ["x", "a b", "('folder:/x',)", "it's $HOME", 'say "hi"', "'\\", "", "`ls`'", "a!'"]
)
def test_commands_can_be_pasted_into_a_shell(word):
    printed = subprocess.run(["sh", "-c", f"printf %s {quoted(word)}"], capture_output=True)
    assert printed.stdout.decode() == word


def test_a_report_that_fails_is_a_warning(config, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no room")

    monkeypatch.setattr("dense_ssl.reports.html.write_report", fail)
    monkeypatch.setattr("dense_ssl.engine.run_report.record_start", fail)
    with recorded_log("dense_ssl.engine.run_report", "WARNING") as log:
        train(config())
    assert log == [
        f"No {x}, which changes nothing of the run: no room" for x in (RECORD, "report.html")
    ]
    assert (tmp_path / "output" / "model_final.pth").is_file()


def test_without_the_chart_library_one_line_says_so(config, tmp_path, monkeypatch):
    for name in [x for x in sys.modules if x.startswith("dense_ssl.reports.html")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with recorded_log("dense_ssl.engine.run_report", "WARNING") as log:
        train(config())
    [line] = log
    assert "No report.html" in line and "pip install jinja2 plotly" in line
    assert "LOG.REPORT False" in line and "\n" not in line


def test_labelled_objects_are_counted(scenes, tmp_path):
    from helpers import DETECTOR, load_config

    from dense_ssl.data.finetune.loader import count_training_objects
    from dense_ssl.data.sources.entries import register_datasets

    cfg = load_config(DETECTOR)
    images = json.loads((scenes / "annotations" / "instances_train.json").read_text())
    cfg.DATASETS.TRAIN = (f"coco:{scenes}/annotations/instances_train.json:{scenes}/train",)
    cfg.OUTPUT_DIR = str(tmp_path)
    register_datasets(cfg)
    counts = count_training_objects(cfg)
    names = {x["id"]: x["name"] for x in images["categories"]}
    expected = dict.fromkeys(names.values(), 0)
    for x in images["annotations"]:
        expected[names[x["category_id"]]] += 1
    assert counts == expected and sum(counts.values()) > 0
    assert RunReport(cfg, 12, is_pretraining=False).data["objects"] == expected
