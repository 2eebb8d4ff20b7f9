"""tools/compare.py: its bookkeeping, with a trainer that trains nothing."""

import csv
import json
import multiprocessing
import sys

import pytest
from helpers import CONFIGS, ROOT
from tool_helpers import load_tool, wait_for

PROTOCOL = CONFIGS / "demo" / "mask_rcnn.yaml"
FAKE = ROOT / "tests" / "tools" / "fake_train_net.py"


@pytest.fixture(scope="module")
def compare():
    return load_tool("compare")


@pytest.fixture
def run(compare, tmp_path, monkeypatch, capsys):
    """A function that runs the tool in tmp_path; gives (exit status, what was printed)."""
    monkeypatch.setattr(compare, "TRAIN_NET", [sys.executable, str(FAKE)])
    monkeypatch.chdir(tmp_path)

    def call(*arguments, protocols=(PROTOCOL,), seeds=(1, 2), options=()):
        words = ["--protocols", *map(str, protocols), "--seeds", *map(str, seeds), *arguments]
        status = compare.main(
            [*words, "--output", "out", "SOLVER.MAX_ITER", "4", "DATASETS.TEST", "('x',)", *options]
        )
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return call


def backbone(tmp_path, name, text):
    path = tmp_path / f"{name}.pkl"
    path.write_text(text)
    return f"{name}={path}"


def starts(tmp_path):
    return {
        f"{x.parent.parent.name}/{x.parent.name}": len(x.read_text().splitlines())
        for x in (tmp_path / "out").glob("*/*/*/seed*/starts.txt")
    }


def test_everything_is_run_once_and_reported(run, tmp_path):
    names = ("--backbones", "random", backbone(tmp_path, "good", "12"))
    status, printed = run(*names)
    assert status == 0
    table = [[x.strip() for x in y.split("|")[1:-1]] for y in printed.splitlines() if y[:1] == "|"]
    assert table[0] == ["", "demo/mask_rcnn", "", ""]
    assert table[2] == ["backbone", "*bbox/AP*", "*bbox/AP50*", "*segm/AP*"]
    # 10.1 and 10.2: mean 10.15, sd 0.1 / sqrt(2)
    assert table[3] == ["random", "10.15 ± 0.07", "20.30 ± 0.14", "9.15 ± 0.07"]
    assert table[4][1] == "**12.15 ± 0.07** (+2.00)"
    assert set(starts(tmp_path)) == {f"{b}/seed{s}" for b in ("random", "good") for s in (1, 2)}
    again, printed_again = run(*names)
    assert again == 0 and set(starts(tmp_path).values()) == {1}
    assert printed_again.split("| backbone")[1] == printed.split("| backbone")[1]


def test_files_hold_the_same_table(run, tmp_path):
    run("--backbones", "random", backbone(tmp_path, "good", "12"))
    report = json.loads((tmp_path / "out" / "comparison.json").read_text())
    cell = report["protocols"]["demo/mask_rcnn"]["bbox/AP"]["good"]
    assert cell["values"] == pytest.approx({"1": 12.1, "2": 12.2}) and cell["n"] == 2
    with open(tmp_path / "out" / "comparison.csv") as file:
        rows = {(x["metric"], x["backbone"]): x for x in csv.DictReader(file)}
    assert float(rows["segm/AP", "good"]["mean"]) == pytest.approx(11.15)
    assert "**12.15 ± 0.07**" in (tmp_path / "out" / "comparison.md").read_text()
    assert (tmp_path / "out" / "comparison.png").read_bytes()[:4] == b"\x89PNG"


def test_a_comparison_can_grow(run, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")  # as if torchrun had started the comparison
    run("--backbones", "random", seeds=(1,))
    run("--backbones", "random", backbone(tmp_path, "good", "12"), seeds=(1, 2))
    assert set(starts(tmp_path).values()) == {1} and len(starts(tmp_path)) == 4


def test_a_failed_run_is_reported_and_stops_no_other(run, tmp_path):
    bad, good = backbone(tmp_path, "bad", "crash"), backbone(tmp_path, "good", "12")
    status, printed = run("--backbones", "random", bad, good)
    assert status == 1
    assert "| RuntimeError: the network has exploded" in printed
    assert "FAILED: demo/mask_rcnn  bad  seed 2" in printed
    assert "not done: demo/mask_rcnn  bad  seed 1" in printed
    assert "12.15 ± 0.07" in printed
    # mended, only the failed ones are run again
    log = tmp_path / "out/demo/mask_rcnn/bad/seed1/comparison_run.log"
    assert "exploded" in log.read_text()
    status, _ = run("--backbones", "random", bad, good)
    assert status == 1
    assert starts(tmp_path) == {
        "random/seed1": 1, "random/seed2": 1, "good/seed1": 1, "good/seed2": 1,
        "bad/seed1": 2, "bad/seed2": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    "change, message",
    [
        (["SOLVER.BASE_LR", "0.2"], "SOLVER.BASE_LR: 0.05, now 0.2"),
        (["INPUT.MIN_SIZE_TRAIN", "(96,)"], r"INPUT.MIN_SIZE_TRAIN: [128], now [96]"),
    ],
)
def test_other_settings_are_refused(run, tmp_path, change, message):
    run("--backbones", "random")
    status, printed = run("--backbones", "random", options=change)
    assert status == 2 and message in printed
    assert set(starts(tmp_path).values()) == {1}


def test_other_weights_under_the_same_name_are_refused(run, tmp_path):
    name = backbone(tmp_path, "ours", "12")
    run("--backbones", name, seeds=(1,))
    backbone(tmp_path, "ours", "13")
    status, printed = run("--backbones", name, seeds=(1, 2))
    assert status == 2 and "MODEL.WEIGHTS: sha256:" in printed
    assert starts(tmp_path) == {"ours/seed1": 1}


def test_settings_that_change_no_result_may_differ(run, tmp_path):
    run("--backbones", "random", seeds=(1,))
    options = ["DATALOADER.NUM_WORKERS", "3", "SOLVER.CHECKPOINT_PERIOD", "77"]
    assert run("--backbones", "random", seeds=(1, 2), options=options)[0] == 0
    assert set(starts(tmp_path).values()) == {1}


def test_a_folder_of_something_else_is_refused(run, tmp_path):
    folder = tmp_path / "out/demo/mask_rcnn/random/seed1"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text("")
    status, printed = run("--backbones", "random")
    assert status == 2 and "has files, and no comparison_run.json says of which run" in printed


def test_a_detector_that_finds_nothing_scores_nought_and_the_table_says_so(run, tmp_path):
    status, printed = run("--backbones", "random", backbone(tmp_path, "lost", "nothing"))
    assert status == 0
    assert "0.00 ± 0.00 (-10.15)" in printed and "0.00 ± 0.00 (-9.15)" in printed
    assert "nothing found, counted as 0: demo/mask_rcnn  lost  seed 1" in printed


def test_dry_run_runs_nothing(run, tmp_path):
    run("--backbones", "random", seeds=(1,))
    status, printed = run("--backbones", "random", "--dry-run")
    assert status == 0
    assert "random  seed 1: done" in printed and "random  seed 2: to run" in printed
    assert "SEED 2" in printed and len(starts(tmp_path)) == 1


def test_report_only_collects_what_is_there(run, compare, tmp_path, capsys):
    run("--backbones", "random", backbone(tmp_path, "good", "12"))
    (tmp_path / "good.pkl").unlink()
    assert compare.main(["--report-only", "--output", "out"]) == 0
    assert "random" in capsys.readouterr().out
    chosen = ["--backbones", "good", "--metrics", "segm/*", "--output", "out"]
    assert compare.main(["--report-only", "--seeds", "2", *chosen]) == 0
    printed = capsys.readouterr().out
    assert "11.20" in printed and "bbox" not in printed and "random" not in printed
    assert compare.main(["--report-only", "--output", "nowhere"]) == 2


def test_report_of_differing_runs_is_refused(run, compare, capsys):
    run("--backbones", "random", seeds=(1,))
    run("--backbones", "random", seeds=(2,), options=("SOLVER.BASE_LR", "0.2"))
    assert compare.main(["--report-only", "--output", "out"]) == 2
    assert "SOLVER.BASE_LR: 0.05, now 0.2" in capsys.readouterr().err


def test_a_run_in_the_hands_of_another_process_is_left_alone(run, tmp_path):
    words = ("--backbones", backbone(tmp_path, "stuck", "stuck"))
    (tmp_path / "held").touch()
    other = multiprocessing.get_context("fork").Process(target=run, args=words)
    other.start()
    wait_for(lambda: starts(tmp_path), 20)
    try:
        status, printed = run(*words, seeds=(1,))
        assert status == 1 and "in the hands of another process" in printed
        other.kill()
        other.join()
        # the training goes on without its parent, and still holds the run
        status, printed = run(*words, seeds=(1,))
        assert status == 1 and starts(tmp_path) == {"stuck/seed1": 1}
    finally:
        (tmp_path / "held").unlink()
        other.kill()
    wait_for(lambda: run(*words, seeds=(1,))[0] == 0, 20)
    assert starts(tmp_path) == {"stuck/seed1": 1}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--backbones", "random", "a=nowhere.pkl"], "a has no weights at 'nowhere.pkl'"),
        (["--backbones", "random", "x=random", "x=random"], "'x' is there twice"),
        (["--backbones", "random", "--dry-run"], "SEED is set for each run by --backbones"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_runs(run, tmp_path, arguments, message):
    options = ("SEED", "3") if "--dry-run" in arguments else ()
    status, printed = run(*arguments, options=options)
    assert status == 2 and message in printed and not (tmp_path / "out").exists()


def test_pretraining_and_unknown_keys_are_refused(run):
    pretrain = CONFIGS / "mini" / "pretrain" / "scrl_R_18.yaml"
    status, printed = run("--backbones", "random", protocols=(pretrain,))
    assert status == 2 and "is a config of pre-training" in printed
    status, printed = run("--backbones", "random", options=("NO.KEY", "1"))
    assert status == 2 and "NO.KEY" in printed


def test_misplaced_keys_are_explained(compare, capsys):
    words = ["--backbones", "random", "--protocols", str(PROTOCOL), "SEED", "3"]
    with pytest.raises(SystemExit):
        compare.main(words)
    assert "KEY VALUE pairs stand at the end" in capsys.readouterr().err
