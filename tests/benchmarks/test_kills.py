"""The kill test, short: a few kills instead of a hundred."""

import json
import subprocess
import sys

import pytest
from helpers import ROOT

SCRIPT = str(ROOT / "benchmarks" / "kills.py")


@pytest.mark.parametrize("processes, kills", [(1, 3), (2, 2)])
def test_killed_runs_end_as_the_untouched_one(tmp_path, processes, kills):
    command = [sys.executable, SCRIPT, "--kills", kills, "--steps", 12, "--processes", processes,
               "--seed", 5, "--output", tmp_path / "kills.json"]  # fmt: skip
    with open(tmp_path / "out.txt", "w") as file:  # processes that stay behind would hold a pipe
        status = subprocess.run([str(x) for x in command], cwd=ROOT, stdout=file, stderr=file,
                                timeout=900).returncode  # fmt: skip
    assert status == 0, (tmp_path / "out.txt").read_text()[-3000:]
    report = json.loads((tmp_path / "kills.json").read_text())
    assert report["faults"] == [] and report["kills"] == kills
    assert report["runs completed and compared"] >= 1
