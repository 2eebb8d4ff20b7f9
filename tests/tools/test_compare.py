"""tools/compare.py with a fake trainer: which runs it starts, and what it reports."""

import csv
import functools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys

import pytest
from comparison_calls import PROTOCOL, backbone, call, fake_compare, run_in, starts, table
from helpers import CONFIGS
from tool_helpers import wait_for


@pytest.fixture(scope="module")
def compare():
    return fake_compare()


@pytest.fixture
def run(compare, tmp_path):
    """A function that runs the tool with an output in tmp_path."""
    return functools.partial(run_in, compare, tmp_path)


@pytest.fixture(scope="module")
def finished(compare, tmp_path_factory):
    """A finished comparison, not to be changed: the folder, the backbones and what was printed."""
    folder = tmp_path_factory.mktemp("finished")
    names = ("--backbones", "random", backbone(folder, "good", "12"))
    status, printed = run_in(compare, folder, *names)
    assert status == 0
    return folder, names, printed


def test_every_run_is_reported(finished):
    _, _, printed = finished
    head, _, random, good = table(printed)
    assert head == ["backbone", "bbox/AP", "bbox/AP50", "segm/AP"]
    # 10.1 and 10.2: the mean, and 12.706 (Student's t for one degree of freedom) times 0.05
    assert random == ["random", "10.15 ± 0.64", "20.30 ± 1.27", "9.15 ± 0.64"]
    # the seeds of both backbones differ alike, so the difference is the same for each
    assert good[1] == "12.15 ± 0.64 (**+2.00 ± 0.00**)"


def test_finished_runs_are_not_repeated(finished, compare):
    folder, names, printed = finished
    status, again = run_in(compare, folder, *names)
    assert status == 0 and table(again) == table(printed)
    assert starts(folder) == {f"{b}/seed{s}": 1 for b in ("random", "good") for s in (1, 2)}


def test_files_hold_the_same_table(finished):
    out = finished[0] / "out"
    report = json.loads((out / "comparison.json").read_text())
    cell = report["protocols"]["demo/mask_rcnn"]["bbox/AP"]["good"]
    assert cell["values"] == pytest.approx({"1": 12.1, "2": 12.2}) and cell["n"] == 2
    with open(out / "comparison.csv") as file:
        rows = {(x["metric"], x["backbone"]): x for x in csv.DictReader(file)}
    assert float(rows["segm/AP", "good"]["mean"]) == pytest.approx(11.15)
    assert "12.15 ± 0.64 (**+2.00 ± 0.00**)" in (out / "comparison.md").read_text()
    assert (out / "comparison.png").read_bytes()[:4] == b"\x89PNG"


def test_a_comparison_can_grow(run, tmp_path, monkeypatch):
    """Also under torchrun, and with other settings that do not change the results."""
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("SLURM_PROCID", "1")
    run("--backbones", "random", seeds=(1,))
    names = ("--backbones", "random", backbone(tmp_path, "good", "12"))
    options = [
        "DATALOADER.NUM_WORKERS",
        "3",
        "SOLVER.CHECKPOINT_PERIOD",
        "77",
        "SOLVER.KEEP_CHECKPOINTS",
        "1",
        "LOG.REPORT",
        "False",
    ]
    assert run(*names, options=options)[0] == 0
    assert set(starts(tmp_path).values()) == {1} and len(starts(tmp_path)) == 4


def test_a_failed_run_is_reported_and_does_not_stop_the_others(run, tmp_path):
    bad, good = backbone(tmp_path, "bad", "crash"), backbone(tmp_path, "good", "12")
    status, printed = run("--backbones", bad, good)
    assert status == 1
    assert "| RuntimeError: the network has exploded" in printed
    assert "FAILED: demo/mask_rcnn  bad  seed 2" in printed
    assert "not done: demo/mask_rcnn  bad  seed 1" in printed
    assert "12.15 ± 0.64" in printed
    log = tmp_path / "out/demo/mask_rcnn/bad/seed1/comparison_run.log"
    assert "exploded" in log.read_text()
    assert run("--backbones", bad, good, seeds=(1,))[0] == 1
    assert starts(tmp_path) == {"good/seed1": 1, "good/seed2": 1, "bad/seed1": 2, "bad/seed2": 1}


def test_a_training_that_a_signal_stops_ends_the_comparison(run, tmp_path):
    names = ("--backbones", backbone(tmp_path, "taken", "stopped"), backbone(tmp_path, "b", "12"))
    with pytest.raises(SystemExit) as stop:
        run(*names, seeds=(1,))
    assert stop.value.code == 75
    assert starts(tmp_path) == {"taken/seed1": 1}
    status, printed = run(*names, seeds=(1,))
    assert status == 0 and "taken  seed 1  4 iterations, resumes from" in printed
    assert starts(tmp_path) == {"taken/seed1": 2, "b/seed1": 1}


COMMAND = """
import sys
from comparison_calls import fake_compare
tool = fake_compare()
tool.stop_on_signals()
sys.exit(tool.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_the_comparison_and_its_training(tmp_path, number):
    (tmp_path / "held").touch()
    words = ["--protocols", PROTOCOL, "--backbones", backbone(tmp_path, "a", "stuck"),
             "--output", tmp_path / "out",
             "SOLVER.MAX_ITER", 4, "DATASETS.TEST", "('x',)"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, words)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    folder = tmp_path / "out/demo/mask_rcnn/a/seed1"
    wait_for((folder / "last_checkpoint").exists, 120)
    process.send_signal(number)
    assert process.wait(60) == 75
    process.stdout.close()
    assert not subprocess.run(["pgrep", "-f", str(folder)], capture_output=True).stdout
    assert "metrics.json" not in [x.name for x in folder.iterdir()]


@pytest.mark.parametrize(
    "change, message",
    [
        (["SOLVER.BASE_LR", "0.2"], "SOLVER.BASE_LR: 0.05, now 0.2"),
        (["INPUT.MIN_SIZE_TRAIN", "(96,)"], "INPUT.MIN_SIZE_TRAIN: [128], now [96]"),
    ],
)
def test_other_settings_are_refused(finished, compare, change, message):
    folder, names, _ = finished
    status, printed = run_in(compare, folder, *names, options=change)
    assert status == 2 and message in printed


def test_other_weights_with_the_same_name_are_refused(finished, compare, tmp_path):
    names = ("--backbones", "random", backbone(tmp_path, "good", "13"))
    status, printed = run_in(compare, finished[0], *names, seeds=(2, 3))
    assert status == 2 and "MODEL.WEIGHTS: 'sha256:" in printed
    assert "good/seed3" not in starts(finished[0])


def test_a_folder_with_other_files_is_refused(run, tmp_path):
    folder = tmp_path / "out/demo/mask_rcnn/random/seed1"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text("")
    status, printed = run("--backbones", "random")
    assert status == 2 and "no comparison_run.json" in printed


def test_a_detector_that_finds_nothing_scores_zero_with_a_note(run, tmp_path):
    lost = backbone(tmp_path, "lost", "nothing")
    status, printed = run("--backbones", "random", lost, seeds=(1,))
    assert status == 0
    rows = table(printed)
    assert rows[0][:3] == ["backbone", "bbox/AP", "bbox/AP50"] and rows[-1][:2] == ["lost", "0.00"]
    assert "nothing found, counted as 0: demo/mask_rcnn  lost  seed 1" in printed


def test_dry_run_trains_nothing(finished, compare):
    folder, names, _ = finished
    status, printed = run_in(compare, folder, *names, "--dry-run", seeds=(2, 3))
    assert status == 0
    assert "random  seed 2: done" in printed and "random  seed 3: to run" in printed
    assert "SEED 3" in printed and "random/seed3" not in starts(folder)


def test_report_only_selects_from_what_is_there(finished, compare, tmp_path):
    report = ("--report-only", "--output", shutil.copytree(finished[0] / "out", tmp_path / "out"))
    status, printed = call(compare, report)
    assert status == 0 and [x[0] for x in table(printed)[2:]] == ["good", "random"]
    chosen = ("--backbones", "good", "--metrics", "segm/*", "--seeds", 2)
    status, printed = call(compare, (*report, *chosen))
    assert status == 0
    assert "11.20" in printed and "bbox" not in printed and "random" not in printed
    assert call(compare, ("--report-only", "--output", tmp_path / "nowhere"))[0] == 2


def test_report_of_runs_with_other_settings_is_refused(finished, compare, tmp_path):
    out = shutil.copytree(finished[0] / "out", tmp_path / "out")
    record = out / "demo/mask_rcnn/random/seed2/comparison_run.json"
    run = json.loads(record.read_text())
    run["settings"]["SOLVER.BASE_LR"] = 0.2
    record.write_text(json.dumps(run))
    status, printed = call(compare, ("--report-only", "--output", out))
    assert status == 2 and "SOLVER.BASE_LR: 0.05, now 0.2" in printed


def test_a_run_of_another_process_is_left_alone(run, tmp_path):
    words = ("--backbones", backbone(tmp_path, "stuck", "stuck"))
    (tmp_path / "held").touch()
    other = multiprocessing.get_context("fork").Process(target=run, args=words)
    other.start()
    try:
        wait_for(lambda: starts(tmp_path), 60)
        status, printed = run(*words, seeds=(1,))
        assert status == 1 and "another process is training: demo/mask_rcnn  stuck" in printed
        other.kill()
        other.join()
        # the training continues without its parent, and the run is still locked
        status, printed = run(*words, seeds=(1,))
        assert status == 1 and starts(tmp_path) == {"stuck/seed1": 1}
    finally:
        (tmp_path / "held").unlink()
        other.kill()
    wait_for(lambda: run(*words, seeds=(1,))[0] == 0, 60)
    assert starts(tmp_path) == {"stuck/seed1": 1}


@pytest.mark.parametrize(
    "backbones, changes, message",
    [
        (["a=nowhere.pkl"], {}, "a has no weights at 'nowhere.pkl'"),
        (["x=random", "x=random"], {}, "'x' is there twice"),
        ([], {"options": ["SEED", "3"]}, "SEED is set for each run by --backbones"),
        ([], {"options": ["NO.KEY", "1"]}, "NO.KEY"),
        (
            [],
            {"protocols": [CONFIGS / "mini/pretrain/scrl_R_18.yaml"]},
            "is a config of pre-training",
        ),
    ],
)
def test_impossible_runs_are_refused_before_anything_runs(
    run, tmp_path, backbones, changes, message
):
    status, printed = run("--backbones", "random", *backbones, **changes)
    assert status == 2 and message in printed and not (tmp_path / "out").exists()


def test_misplaced_keys_are_explained(compare, capsys):
    words = ["--backbones", "random", "--protocols", str(PROTOCOL), "SEED", "3"]
    with pytest.raises(SystemExit):
        compare.main(words)
    assert "KEY VALUE pairs come last" in capsys.readouterr().err
