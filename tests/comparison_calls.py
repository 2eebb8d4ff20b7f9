"""Calls of tools/compare.py with a fake trainer, for its tests."""

import contextlib
import io
import sys

from helpers import CONFIGS, ROOT
from tool_helpers import load_tool

PROTOCOL = CONFIGS / "demo" / "mask_rcnn.yaml"
FAKE = ROOT / "tests" / "tools" / "fake_train_net.py"


def fake_compare():
    """Return tools/compare.py with the fake trainer and the fake probe."""
    tool = load_tool("compare")
    tool.TRAIN_NET = [sys.executable, str(FAKE)]
    tool.PROBE = [sys.executable, str(FAKE.with_name("fake_roi_probe.py"))]
    return tool


def call(tool, arguments):
    """Return (exit status, what was printed)."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        status = tool.main([str(x) for x in arguments])
    return status, text.getvalue()


def run_in(tool, folder, *arguments, protocols=(PROTOCOL,), seeds=(1, 2), options=()):
    """Compare with an output in a folder; returns (exit status, what was printed)."""
    return call(tool, [
        "--protocols", *protocols, "--seeds", *seeds, *arguments, "--output", folder / "out",
        "SOLVER.MAX_ITER", 4, "DATASETS.TEST", "('x',)", *options,
    ])  # fmt: skip


def backbone(folder, name, text):
    """Write weights for the fake trainer; returns the argument of --backbones."""
    path = folder / f"{name}.pkl"
    path.write_text(text)
    return f"{name}={path}"


def starts(folder):
    """Return how often each run was started."""
    return {
        f"{x.parent.parent.name}/{x.parent.name}": len(x.read_text().splitlines())
        for x in (folder / "out").glob("*/*/*/seed*/starts.txt")
    }


def table(printed):
    """Return the rows of the tables in a text, as lists of cells."""
    return [[x.strip() for x in y.split("|")[1:-1]] for y in printed.splitlines() if y[:1] == "|"]
