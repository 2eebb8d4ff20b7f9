"""The demo from end to end, a forty-fifth of its length."""

import json
import re
import subprocess
import sys

import pytest
from helpers import ROOT

RUNS = {"random", "scrl", "random_frozen", "scrl_frozen"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    output = tmp_path_factory.mktemp("demo")
    command = [sys.executable, str(ROOT / "tools" / "demo.py"), "--shorten", "45"]
    result = subprocess.run(
        [*command, "--output", str(output)], capture_output=True, text=True, cwd=output
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return output, result.stdout


def test_summary_has_every_run(finished):
    summary = json.loads((finished[0] / "summary.json").read_text())
    assert set(summary) == RUNS | {"seconds"}
    for run in RUNS:
        assert {"bbox/AP", "segm/AP"} <= set(summary[run])
    assert set(summary["seconds"]) == RUNS | {"scenes", "pretrain", "total"}


def test_pictures_are_drawn(finished):
    for name in ("curves.png", "views.png", "detections.png"):
        assert (finished[0] / name).stat().st_size > 1000


def test_progress_and_hand_over_are_visible(finished):
    output, printed = finished
    assert "[scrl]" in printed and "[random]" in printed
    assert "bbox/AP" in printed
    found = re.search(r"loaded (\d+) of (\d+) backbone", (output / "scrl" / "log.txt").read_text())
    assert found and found[1] == found[2]
    assert "backbone tensors" not in (output / "random" / "log.txt").read_text()


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    command = [sys.executable, str(ROOT / "tools" / "demo.py"), "--data", str(tmp_path / "no")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2 and "is not a folder" in result.stderr
