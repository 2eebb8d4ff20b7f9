"""A training in a process of its own: what is read of its output, and how it ends."""

import _thread
import subprocess
import sys

import pytest

from dense_ssl.utils.training_process import parse_progress, run_training


@pytest.mark.parametrize(
    "line, text",
    [
        ("iter 40/900  loss 1.283 (cls 0.53 rpn_loc 0.02)  lr 0.0077  2.4 s/it  eta 0:01:20  "
         "epoch 0.3\n", "iteration 40/900  loss 1.283  eta 0:01:20"),
        ("iter 40/900  loss 1.283  eta 1 day, 2:03:04\n",
         "iteration 40/900  loss 1.283  eta 1 day, 2:03:04"),
        ("iter 1/900  loss 2.5  lr 0.01  epoch 0.01\n", "iteration 1/900  loss 2.5"),
        ("[12:00:00] Evaluating on voc:/x:test: 11 of 300 (3%), eta 0:00:29\n",
         "evaluation 11/300  eta 0:00:29"),
        ("Loading from yaml: total_loss", None),
        ("Starting training from iteration 0", None),
    ],
)  # fmt: skip
def test_lines_of_a_run(line, text):
    assert parse_progress(line) == text


def python(code):
    return [sys.executable, "-c", code]


def test_output_is_reported_and_kept(tmp_path):
    code = "import sys; print('iter 1/9  loss 2'); print('odd \\u2013', file=sys.stderr)"
    reported, log = [], tmp_path / "log.txt"
    for _ in range(2):
        status, tail = run_training(python(code), reported.append, log)
        assert status == 0 and "loss 2" in tail and "odd" in tail
    assert reported == ["iteration 1/9  loss 2"] * 2
    assert log.read_text().count("odd") == 2


def test_failure_gives_the_status_and_the_last_lines():
    code = "[print('line', i) for i in range(200)]; raise SystemExit(7)"
    status, tail = run_training(python(code), print)
    assert status == 7
    assert tail.splitlines()[-1] == "line 199" and len(tail.splitlines()) == 60


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_the_process(monkeypatch):
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[0]
    )
    code = "import time; print('iter 1/9  loss 2', flush=True); time.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        run_training(python(code), lambda text: _thread.interrupt_main())
    assert started[0].poll() is not None
