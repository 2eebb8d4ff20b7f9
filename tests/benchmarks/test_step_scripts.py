"""The scripts that time steps still run, on the smallest case."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
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


def test_arithmetic_of_a_step():
    small = ["--depth", "18", "--side", "64", "--batch", "2", "--methods", "BYOL", "DUPR"]
    rows = re.findall(r"(\w+) +[\d.]+ +([\d.]+) +([\d.]+) +([\d.]+)\n", run("step_flops", *small))
    shares = {name: [float(x) for x in row] for name, *row in rows}
    assert shares["BYOL"][2] == 0  # its loss has no products
    assert shares["DUPR"][2] > 1  # small views and the whole queue
    for whole, half, single in shares.values():
        assert half > 1 and whole == pytest.approx(half + single, abs=0.002)


def test_products_are_counted_by_type(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from step_flops import operations_of

    from dense_ssl.losses.log_sum_exp import log_sum_exp

    rows, candidates = torch.rand(1, 3, 8), torch.rand(1, 20, 8)
    image, kernel = torch.rand(1, 2, 6, 6).bfloat16(), torch.rand(5, 2, 3, 3).bfloat16()

    def run_both():
        torch.conv2d(image, kernel)
        log_sum_exp(rows, candidates)

    counts = operations_of(run_both)
    # 4 x 4 cells of 5 channels from 18 numbers each; products with candidates, and their mean
    assert counts == {torch.bfloat16: 2 * 16 * 5 * 18, torch.float32: 2 * 3 * 20 * (8 + 8)}


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux's /proc")
def test_a_step_at_the_papers_sizes():
    """Ours alone: its peer is not part of the environment."""
    job = {"method": "MoCoV2", "program": "DenseSSL", "batch_size": 2, "steps": 1, "cpu_time": True}
    output = run("peer_steps", "--job", json.dumps(job))
    found = json.loads(output.splitlines()[-1])
    assert len(found["seconds"]) == 1 and found["seconds"][0] > 0
    assert found["megabytes"] > 4 * 25  # the weights of a ResNet-50 alone


def test_checkpoints(tmp_path):
    output = run("checkpoints", *ROUNDS, "--output", str(tmp_path))
    assert re.search(r"a checkpoint of 4\d\d MB", output) and not list(tmp_path.iterdir())
    for kind in ("foreground", "background"):
        assert re.search(rf"{kind} +held up +\d\.\d+ .* written +\d\.\d+ ", output), output
