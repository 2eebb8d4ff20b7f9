"""The scripts that time steps still run, on the smallest case."""

import re
import subprocess
import sys

import pytest
from helpers import ROOT

ROUNDS = ["--rounds", "1", "--threads", "1"]
SMALL = ["--cases", "R18@64x4", "--methods", "BYOL", *ROUNDS]


@pytest.mark.parametrize("name, options, lines", [
    ("steps", ["--heads", "mini", "--warm-up", "1"], [
        r"R18@64x4 BYOL mini( +\d+ \[\d+-\d+\]){2} +\d\.\d+ \[.*\]  target 1.05",
        r"heads, forward and backward +\d+\.\d",
    ]),
    ("activation_checkpoints", [], [r"R18@64x4 BYOL +\d+\.\d -> +\d+\.\d +\d\.\d+ \["]),
])  # fmt: skip
def test_it_runs(name, options, lines):
    output = run(name, *SMALL, *options)
    for line in lines:
        assert re.search(line, output), output


def run(name, *options):
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def test_steps_of_every_method():
    small = ["--depth", "18", "--side", "64", "--batch", "2", "--methods", "MoCoV2", "SelfEMD"]
    output = run("every_step", *small, *ROUNDS)
    for method in ("MoCoV2", "SelfEMD"):
        assert re.search(rf"{method} +\d+ \[.*\] ms +\d+\.\d+ \[", output), output


def test_checkpoints(tmp_path):
    output = run("checkpoints", *ROUNDS, "--output", str(tmp_path))
    assert re.search(r"a checkpoint of 4\d\d MB", output) and not list(tmp_path.iterdir())
    for kind in ("foreground", "background"):
        assert re.search(rf"{kind} +held up +\d\.\d+ .* written +\d\.\d+ ", output), output
