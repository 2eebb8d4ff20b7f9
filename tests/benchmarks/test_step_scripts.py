"""The scripts that time steps still run, on the smallest case."""

import re
import subprocess
import sys

import pytest
from helpers import ROOT

SMALL = ["--cases", "R18@64x4", "--methods", "BYOL", "--rounds", "1", "--threads", "1"]


@pytest.mark.parametrize("name, options, lines", [
    ("steps", ["--heads", "mini", "--warm-up", "1"], [
        r"R18@64x4 BYOL mini( +\d+ \[\d+-\d+\]){2} +\d\.\d+ \[.*\]  target 1.05",
        r"heads, forward and backward +\d+\.\d",
    ]),
    ("activation_checkpoints", [], [r"R18@64x4 BYOL +\d+\.\d -> +\d+\.\d +\d\.\d+ \["]),
])  # fmt: skip
def test_it_runs(name, options, lines):
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *SMALL, *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-2000:]
    for line in lines:
        assert re.search(line, result.stdout), result.stdout
