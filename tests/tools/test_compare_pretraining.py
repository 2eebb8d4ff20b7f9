"""tools/compare.py with backbones that it pre-trains, and with a grid; with a fake trainer."""

import contextlib
import functools
import json

import pytest
from comparison_calls import PROTOCOL, backbone, call, fake_compare, run_in, starts, table
from helpers import CONFIGS

from dense_ssl.reports import comparison_training

PRETRAINING = CONFIGS / "mini" / "pretrain" / "scrl_R_18.yaml"
LINEAR = CONFIGS / "finetune" / "Image-Classification" / "imagenet_moco_R_50.yaml"
FROZEN = f"_BASE_: '{PROTOCOL}'\nMODEL:\n  FREEZE_BACKBONE: True\n"


@pytest.fixture(scope="module")
def compare():
    return fake_compare()


@pytest.fixture
def run(compare, tmp_path):
    """A function that runs the tool with an output in tmp_path."""
    return functools.partial(run_in, compare, tmp_path)


def pretrained(folder, name, text):
    """Write a yaml of pre-training; returns the argument of --backbones."""
    path = folder / f"{name}.yaml"
    path.write_text(f"# {text}\n_BASE_: '{PRETRAINING}'\n")
    return f"{name}={path}"


def frozen(folder):
    path = folder / "study" / "frozen.yaml"
    path.parent.mkdir()
    path.write_text(FROZEN)
    return path


def started(folder):
    """Return the trainings in the order of their starts."""
    files = [*(folder / "out").glob("*/*/seed*/starts.txt"),
             *(folder / "out").glob("*/*/*/seed*/starts.txt")]  # fmt: skip
    files.sort(key=lambda x: x.stat().st_mtime_ns)
    return [str(x.parent.relative_to(folder / "out")) for x in files]


def test_all_cells_of_a_seed_come_first_and_a_pretraining_before_its_first_run(run, tmp_path):
    names = ("random", pretrained(tmp_path, "a", "write 12"), pretrained(tmp_path, "b", "write 15"))
    status, printed = run("--backbones", *names, protocols=(PROTOCOL, frozen(tmp_path)))
    assert status == 0
    whole, frozen_ = "demo/mask_rcnn", "study/frozen"
    assert started(tmp_path) == [
        f"{x}/seed{seed}"
        for seed in (1, 2)
        for x in (f"{whole}/random", "pretraining/a", f"{whole}/a", "pretraining/b", f"{whole}/b",
                  f"{frozen_}/random", f"{frozen_}/a", f"{frozen_}/b")
    ]  # fmt: skip
    words = (tmp_path / "out" / whole / "b" / "seed2" / "starts.txt").read_text()
    assert f"MODEL.WEIGHTS {tmp_path}/out/pretraining/b/seed2/backbone.pkl" in words
    assert table(printed)[3][:2] == ["a", "12.15 ± 0.64 (**+2.00 ± 0.00**)"]


def test_a_finished_pretraining_is_not_repeated(run, tmp_path):
    names = ("--backbones", pretrained(tmp_path, "a", "write 12"))
    assert run(*names, seeds=(1,))[0] == 0
    assert run(*names)[0] == 0
    starts_of = [tmp_path / f"out/pretraining/a/seed{x}/starts.txt" for x in (1, 2)]
    assert [len(x.read_text().splitlines()) for x in starts_of] == [1, 1]
    assert starts(tmp_path) == {"a/seed1": 1, "a/seed2": 1}


def test_what_another_process_has_pre_trained_is_taken_up(run, compare, tmp_path, monkeypatch):
    """A run is left out while its pre-training runs elsewhere, and trained after the others."""
    plain_lock, plain_train = comparison_training.locked, comparison_training.train
    of_other = []

    def locked(step):
        if step.folder == tmp_path / "out/pretraining/a/seed1" and not of_other:
            of_other.append(step)
            return contextlib.nullcontext(None)
        return plain_lock(step)

    def train(step, command, lock):
        if len(of_other) == 1:  # meanwhile the other process ends
            of_other.append(None)
            programs = compare.TRAIN_NET, compare.PROBE
            with plain_lock(of_other[0]) as its_lock:
                words = comparison_training.train_command(of_other[0], programs, 1)
                assert plain_train(of_other[0], words, its_lock)
        return plain_train(step, command, lock)

    monkeypatch.setattr(comparison_training, "locked", locked)
    monkeypatch.setattr(comparison_training, "train", train)
    names = [pretrained(tmp_path, x, "write 12") for x in ("a", "b")]
    status, printed = run("--backbones", *names, seeds=(1,))
    assert status == 0 and "a  seed 1: left out, its pre-training runs in another" in printed
    assert started(tmp_path) == [
        "pretraining/a/seed1", "pretraining/b/seed1", "demo/mask_rcnn/b/seed1",
        "demo/mask_rcnn/a/seed1",
    ]  # fmt: skip


def test_an_interrupted_pretraining_resumes(run, tmp_path):
    names = ("--backbones", pretrained(tmp_path, "a", "write 12"))
    assert run(*names, seeds=(1,))[0] == 0
    folder = tmp_path / "out/pretraining/a/seed1"
    (folder / "last_checkpoint").write_text("model_0000001.pth")
    (tmp_path / "out/demo/mask_rcnn/a/seed1/metrics.json").unlink()
    (tmp_path / "out/demo/mask_rcnn/a/seed1/comparison_run.json").unlink()
    (tmp_path / "out/demo/mask_rcnn/a/seed1").rename(tmp_path / "moved")
    status, printed = run(*names, "--dry-run", seeds=(1,))
    assert status == 0 and "pre-training of a  seed 1: resumes from model_0000001.pth" in printed
    assert run(*names, seeds=(1,))[0] == 0
    assert len((folder / "starts.txt").read_text().splitlines()) == 2


def test_a_failed_pretraining_fails_its_runs_and_no_others(run, tmp_path):
    names = (pretrained(tmp_path, "bad", "crash"), pretrained(tmp_path, "good", "write 12"))
    status, printed = run("--backbones", *names, protocols=(PROTOCOL, frozen(tmp_path)), seeds=(1,))
    assert status == 1
    assert "| FloatingPointError: the loss is not finite" in printed
    assert "study/frozen  bad  seed 1: left out, its pre-training failed" in printed
    assert "FAILED: pre-training of bad  seed 1" in printed
    assert "FAILED: demo/mask_rcnn  bad  seed 1" in printed
    # one start for both protocols
    assert len((tmp_path / "out/pretraining/bad/seed1/starts.txt").read_text().splitlines()) == 1
    assert set(starts(tmp_path)) == {"good/seed1"} and "12.10" in printed


def test_keys_of_the_pretraining_and_of_the_detectors_are_apart(run, tmp_path):
    names = ("--backbones", pretrained(tmp_path, "a", "write 12"))
    keys = ("--pretrain-opts", "SOLVER.BASE_LR", "0.7", "INPUT.VIEWS.SIZE", "(96,)")
    assert run(*names, *keys, seeds=(1,))[0] == 0
    before, after = ((tmp_path / "out" / x / "seed1" / "starts.txt").read_text()
                     for x in ("pretraining/a", "demo/mask_rcnn/a"))  # fmt: skip
    assert "SOLVER.BASE_LR 0.7" in before and "SEED 1" in before
    assert "SOLVER.MAX_ITER" not in before and "SOLVER.BASE_LR" not in after
    changed = ("--pretrain-opts", "SOLVER.BASE_LR", "0.6")
    status, printed = run(*names, *changed, seeds=(1,))
    assert status == 2 and "SOLVER.BASE_LR: 0.7, now 0.6" in printed


def test_a_run_whose_pretraining_is_gone_is_refused(run, tmp_path):
    names = ("--backbones", pretrained(tmp_path, "a", "write 12"))
    assert run(*names, seeds=(1,))[0] == 0
    (tmp_path / "out/pretraining/a/seed1/backbone.pkl").unlink()
    status, printed = run(*names, seeds=(1,))
    assert status == 2 and "now 'not pre-trained yet'" in printed


def test_dry_run_lists_the_pretraining(run, tmp_path):
    status, printed = run("--backbones", pretrained(tmp_path, "a", "write 12"), "--dry-run",
                          seeds=(1,))  # fmt: skip
    assert status == 0 and "pre-training of a  seed 1: to run" in printed
    assert str(tmp_path / "a.yaml") in printed and not (tmp_path / "out").exists()


def test_the_report_has_the_commit_of_every_training(run, compare, tmp_path):
    names = ("--backbones", "random", pretrained(tmp_path, "a", "write 12"))
    assert run(*names, seeds=(1,))[0] == 0
    record = json.loads((tmp_path / "out/pretraining/a/seed1/comparison_run.json").read_text())
    (origin,) = record["origins"]
    assert {"python", "torch", "detectron2"} <= set(origin)
    # with another commit it is the same run
    path = tmp_path / "out/demo/mask_rcnn/a/seed1/comparison_run.json"
    saved = json.loads(path.read_text())
    saved["origins"] = [{"commit": "a" * 40, "dirty": True, "torch": "0.1"}]
    path.write_text(json.dumps(saved))
    assert run(*names, seeds=(1,))[0] == 0 and starts(tmp_path)["a/seed1"] == 1
    status, printed = call(compare, ("--report-only", "--output", tmp_path / "out"))
    assert status == 0 and "aaaaaaaaaaaa with uncommitted changes" in printed
    report = json.loads((tmp_path / "out/comparison.json").read_text())
    trainings = {x["name"]: x for x in report["trainings"]}
    assert trainings["demo/mask_rcnn  a  seed 1"]["origins"] == saved["origins"]
    assert trainings["pre-training of a  seed 1"]["origins"] == [origin]
    assert "demo/mask_rcnn  random  seed 1" in trainings


def test_checkpoints_are_deleted_on_request(run, tmp_path):
    names = ("--backbones", pretrained(tmp_path, "a", "write 12"))
    assert run(*names, "--delete-checkpoints", seeds=(1,))[0] == 0
    folder = tmp_path / "out/pretraining/a/seed1"
    assert not list(folder.glob("*.pth")) and (folder / "backbone.pkl").is_file()
    assert run(*names, seeds=(1,))[0] == 0 and len(starts(tmp_path)) == 1
    assert len((folder / "starts.txt").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "words, message",
    [
        (("--backbones", f"x={PROTOCOL}"), "is no config of pre-training"),
        (("--backbones", f"x={PRETRAINING}", "--pretrain-opts", "SEED", "3"), "--pretrain-opts: S"),
        (("--backbones", f"x={PRETRAINING}", "--pretrain-opts", "NO.KEY", "3"), "NO.KEY"),
        (("--backbones", "random", "--reference", "y"), "--reference: 'y' is none of random"),
        (("--backbones", "random", "--grid", "NO.KEY", "3"), "NO.KEY"),
        (("--backbones", "random", "--grid", "SEED", "3"), "SEED is set for each run"),
        (("--backbones", "random", "--probe", "res5", "--protocols", LINEAR), "neither boxes"),
        (("--backbones", "random", "--grid", "SOLVER.STEPS", "a/b"), "--grid: a value is part"),
    ],
)
def test_impossible_requests_are_refused(run, tmp_path, words, message):
    status, printed = run(*words)
    assert status == 2 and message in printed and not (tmp_path / "out").exists()


def test_arguments_may_come_from_a_file(compare, tmp_path):
    file = tmp_path / "study.txt"
    file.write_text(f"# a comment\n--backbones random\n--protocols {PROTOCOL}  # another\n"
                    f'--seeds 1 2\n--output "{tmp_path}/out"\n')  # fmt: skip
    words = (f"@{file}", "--seeds", 3, "--num-gpus", 1, "SOLVER.MAX_ITER", 4, "DATASETS.TEST",
             "('x',)")  # fmt: skip
    assert call(compare, words)[0] == 0
    assert set(starts(tmp_path)) == {"random/seed3"}


@pytest.mark.parametrize("study", sorted((CONFIGS / "study").glob("*.txt")), ids=lambda x: x.stem)
def test_the_runs_of_a_study(compare, tmp_path, study):
    """Every file of configs/study can be planned as it is; planning needs no data."""
    status, printed = call(compare, (f"@{study}", "--output", tmp_path, "--dry-run"))
    assert status == 0, printed
    assert "seed 3: to run" in printed and not list(tmp_path.iterdir())


def test_the_best_of_a_grid(run, compare, tmp_path):
    """`flat` is best with the yaml's own rate; `rate` with 0.02, and only that is trained again."""
    names = ("--backbones", backbone(tmp_path, "flat", "12"), backbone(tmp_path, "rate", "rate"))
    grid = ("--grid", "SOLVER.BASE_LR", "0.02", "0.01", "0.05")
    status, printed = run(*names, *grid)
    assert status == 0
    folder = tmp_path / "out/demo"
    trained = {str(x.parent.relative_to(folder)) for x in folder.rglob("starts.txt")}
    assert trained == {
        f"mask_rcnn{x}"
        for x in (
            *(f"/{name}/seed{seed}" for name in ("flat", "rate") for seed in (1, 2)),
            *(f"@SOLVER.BASE_LR={value}/{name}/seed1"
              for value in ("0.02", "0.01") for name in ("flat", "rate")),
            "@SOLVER.BASE_LR=0.02/rate/seed2",
        )
    }  # fmt: skip
    report = json.loads((tmp_path / "out/comparison.json").read_text())
    equal, best = (report["protocols"][x]["bbox/AP"]
                   for x in ("demo/mask_rcnn", "demo/mask_rcnn, best SOLVER.BASE_LR"))  # fmt: skip
    assert equal["rate"]["values"] == pytest.approx({"1": 17.1, "2": 17.2})
    assert best["rate"]["values"] == pytest.approx({"1": 20.1, "2": 20.2})
    assert best["flat"]["values"] == equal["flat"]["values"]
    assert best["rate"]["differences"]["flat"]["mean"] == pytest.approx(8)
    note = ("demo/mask_rcnn, best SOLVER.BASE_LR: flat 0.05 (end of the grid), rate 0.02; chosen "
            "for each backbone on seed 1")  # fmt: skip
    assert note in printed
    # later the grid is known by the names of the folders
    _, again = call(compare, ("--report-only", "--output", tmp_path / "out"))
    assert note in again and "not done" not in again
    # seed 2 alone has not every value, so it cannot choose
    _, again = call(compare, ("--report-only", "--output", tmp_path / "out", "--seeds", 2))
    assert "best SOLVER" not in again and "17.20" in again


def test_nothing_is_the_best_of_a_grid_that_is_not_done(run, tmp_path):
    names = ("--backbones", backbone(tmp_path, "bad", "crash"), backbone(tmp_path, "flat", "12"))
    status, printed = run(*names, "--grid", "SOLVER.BASE_LR", "0.02")
    assert status == 1 and "best SOLVER.BASE_LR: flat 0.05 (end of the grid); chosen" in printed
    assert not (tmp_path / "out/demo/mask_rcnn@SOLVER.BASE_LR=0.02/bad/seed2").exists()


def test_the_list_says_which_values_are_trained_later(run, tmp_path):
    status, printed = run("--backbones", "random", "--grid", "SOLVER.BASE_LR", "0.02", "--dry-run")
    name = "demo/mask_rcnn@SOLVER.BASE_LR=0.02  random  seed"
    assert status == 0 and f"{name} 1: to run" in printed
    assert f"{name} 2: only if its value is the best of the grid" in printed


def test_the_probe_is_a_protocol_and_is_correlated_with_the_others(run, tmp_path):
    names = ("random", *(backbone(tmp_path, f"b{x}", str(x)) for x in (11, 12)),
             pretrained(tmp_path, "a", "write 15"))  # fmt: skip
    protocols = (PROTOCOL, frozen(tmp_path))
    status, printed = run("--backbones", *names, "--probe", "p3", protocols=protocols)
    assert status == 0
    out = tmp_path / "out"
    assert (out / "demo/probe/a/seed2/probe.txt").read_text() == "p3 128"
    assert {x.name for x in (out / "study").iterdir()} == {"frozen", "probe"}
    report = json.loads((out / "comparison.json").read_text())
    assert report["protocols"]["demo/probe"]["probe/class_accuracy"]["a"]["values"]["1"] == 75
    first, knn, second, _ = report["correlations"]
    assert first == {"probe": "demo/probe", "probe_metric": "probe/class_accuracy",
                     "protocol": "demo/mask_rcnn", "metric": "bbox/AP", "n": 8,
                     "rho": first["rho"], "interval": first["interval"]}  # fmt: skip
    assert second["probe"] == "study/probe" and first["rho"] > 0.95
    assert knn["probe_metric"] == "probe/knn" and knn["rho"] == pytest.approx(-first["rho"])
    assert ("Spearman's correlation of demo/probe probe/class_accuracy with demo/mask_rcnn bbox/AP "
            "over 8 run") in printed  # fmt: skip
    run("--backbones", *names, "--probe", "p3", "--report-only", protocols=protocols)
    again = json.loads((out / "comparison.json").read_text())
    assert again["protocols"] == report["protocols"]
    assert again["correlations"] == report["correlations"]
    status, printed = run("--backbones", "random", "--probe", "p4", seeds=(1,))
    assert status == 2 and "PROBE: 'p3', now 'p4'" in printed
