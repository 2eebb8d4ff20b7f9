"""The demo from end to end, a forty-fifth of its length."""

import json
import re
import subprocess
import sys

from helpers import ROOT

RUNS = {"random", "scrl", "random_frozen", "scrl_frozen"}


def test_the_whole_story(tmp_path):
    command = [sys.executable, str(ROOT / "tools" / "demo.py"), "--shorten", "45"]
    result = subprocess.run(
        [*command, "--output", str(tmp_path)], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]

    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary) == RUNS | {"seconds"}
    for run in RUNS:
        assert {"bbox/AP", "segm/AP"} <= set(summary[run])
    assert set(summary["seconds"]) == RUNS | {"scenes", "pretrain", "total"}
    for name in ("curves.png", "views.png", "detections.png", "overview_frozen.png"):
        assert (tmp_path / name).stat().st_size > 1000

    report = tmp_path / "report.html"
    assert result.stdout.strip().endswith(str(report))
    assert all(x in report.read_text() for x in (*RUNS, "bbox/AP", "plotly"))

    assert "[scrl]" in result.stdout and "[random]" in result.stdout
    assert "bbox/AP" in result.stdout
    found = re.search(r"loaded (\d+) of (\d+) backbone", read_log(tmp_path / "scrl"))
    assert found and found[1] == found[2]
    assert "backbone tensors" not in read_log(tmp_path / "random")


def read_log(folder):
    return (folder / "log.txt").read_text()


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    command = [sys.executable, str(ROOT / "tools" / "demo.py"), "--data", str(tmp_path / "no")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2 and "is not a folder" in result.stderr
