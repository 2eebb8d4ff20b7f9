"""Where a run comes from: the commit of this code, and the versions below it."""

import platform
import subprocess
from pathlib import Path

import detectron2
import torch


def run_origin():
    """Return {"commit", "dirty", "python", "torch", "detectron2"} of a run that starts now.

    "dirty" is True if tracked files differ from the commit. Without git, or where this package is
    not part of a checkout, both are absent.
    """
    versions = {"python": platform.python_version(), "torch": torch.__version__,
                "detectron2": getattr(detectron2, "__version__", "unknown")}  # fmt: skip
    return {**checkout_state(Path(__file__)), **versions}


def checkout_state(file):
    """Return {"commit": hash, "dirty": bool} of the checkout that tracks a file, {} without one."""
    folder = Path(file).resolve().parent
    # an installed copy may lie in the checkout of another project, which does not track it
    tracked = _git(folder, "ls-files", "--error-unmatch", Path(file).name)
    commit = _git(folder, "rev-parse", "HEAD") if tracked else None
    if not commit:
        return {}
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(changes)}


def _git(folder, *words):
    """Return what git prints, None if it fails or does not exist."""
    command = ["git", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
