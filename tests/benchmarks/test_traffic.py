"""The count of bytes, on the smallest case."""

import json
import subprocess
import sys

from helpers import ROOT


def test_gradients_and_shuffles_are_counted():
    command = [sys.executable, str(ROOT / "benchmarks" / "traffic.py"), "--methods", "MoCoV2",
               "--depth", "18", "--images", "1"]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-2000:]
    row = json.loads(result.stdout.splitlines()[-1])
    found = row["MB"]
    assert row["method"] == "MoCoV2" and found["gradients"] > 44  # a ResNet-18 has 11.2 million
    # an image of 224 pixels in float32, and the map that comes back: 7 x 7 cells of 512 channels
    assert found["shuffle"] == round((3 * 224**2 + 512 * 7**2) * 4 / 1e6, 3)
    assert found["queues"] == 0.001 and found["signals"] == 0  # 128 numbers; 8 bytes
