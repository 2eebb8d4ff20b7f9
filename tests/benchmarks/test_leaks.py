"""The leak test, short: one method, and that it finds what leaks."""

import json
import subprocess
import sys

import pytest
from helpers import ROOT

SCRIPT = """
import json, sys
sys.path.insert(0, "benchmarks")
import leaks
from dense_ssl.engine.train_step import TrainStep

kept, run_step = [], TrainStep.run_step

def leaking(self):
    {leak}
    run_step(self)

TrainStep.run_step = leaking
if __name__ == "__main__":
    print(json.dumps(leaks.measure("MoCoV2", 80)))
"""


@pytest.mark.parametrize("leak, grown", [
    ("pass", ()),
    ("kept.append(bytes(2**20) + b'x')", ("MB",)),
    ("kept.append(open('/dev/null'))", ("files",)),
])  # fmt: skip
def test_what_grows_is_found(tmp_path, leak, grown):
    path = tmp_path / "leak.py"
    path.write_text(SCRIPT.format(leak=leak))
    result = subprocess.run([sys.executable, str(path)], cwd=ROOT, capture_output=True, text=True,
                            timeout=600)  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    row = json.loads(result.stdout.splitlines()[-1])
    assert row["leaks"] == bool(grown), row
    assert all(row[x] >= 38 for x in grown), row
