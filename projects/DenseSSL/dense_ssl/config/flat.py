"""A config as a flat table of its keys."""


def flatten(node, prefix="", separator="."):
    """Yield (key, value) of every leaf of a nested dict, such as ("SOLVER.MAX_ITER", 90000)."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}{separator}", separator)
        else:
            yield f"{prefix}{key}", value
