"""The memory of many images, on few: the script runs, and its figures say so."""

import json
import subprocess
import sys

import pytest
from helpers import ROOT


@pytest.mark.parametrize("options", [[], ["--names"]])
def test_workers_need_no_memory_of_their_own(options):
    command = [sys.executable, str(ROOT / "benchmarks" / "scale.py"), "--images", "50000", *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-2000:]
    row = json.loads(result.stdout.splitlines()[-1])
    assert row["images"] == 50000 and row["files"] == (not options)
    assert row["MB of the run"] < 10
    assert len(row["MB of its own in each worker"]) == 2
    assert max(row["MB of its own in each worker"]) < 2
