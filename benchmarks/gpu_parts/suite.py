"""The whole test suite, with the versions of this machine."""

import functools
import os
import re
import subprocess
import sys

from gpu_parts.common import ROOT

_COUNT = re.compile(r"(\d+) (passed|failed|error|skipped|xfailed|deselected)s?\b")


def items(settings):
    """{"all": all tests on as many cores as there are}; none with --small."""
    cores = str(min(len(os.sched_getaffinity(0)), 16))
    options = ("-n", cores, "--dist", "worksteal")
    return {} if settings.small else {"all": functools.partial(run, settings, "suite", *options)}


def run(settings, name, *options):
    """Run pytest; returns the counts of its last line."""
    log = settings.output / f"pytest_{name}.log"
    command = [sys.executable, "-m", "pytest", "--color=no", "-rsfE", *options, "tests"]
    with open(log, "w") as file:
        status = subprocess.run(
            command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=max(settings.seconds_left(), 1),
        ).returncode  # fmt: skip
    lines = log.read_text(errors="replace").splitlines()
    counts = {what: int(n) for n, what in _COUNT.findall(lines[-1] if lines else "")}
    return {
        "ok": status == 0,
        "passed": counts.get("passed", 0),
        "failed": counts.get("failed", 0) + counts.get("error", 0),
        "skipped": counts.get("skipped", 0),
        "_failed": [x for x in lines if x.startswith(("FAILED", "ERROR"))],
        "_end": lines[-60:] if status else lines[-1:],
    }
