"""The tests that are marked for GPUs."""

import functools

from gpu_parts.suite import run


def items(settings):
    """{"-m cuda": function}."""
    return {"-m cuda": functools.partial(run, settings, "cuda", "-m", "cuda")}
