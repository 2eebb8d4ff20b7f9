"""Cores of the machine."""

import os


def available_cores():
    """Return the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    return len(affinity(0))
