"""A config as a flat table of its keys."""

# Keys, and groups of keys, that change nothing that a run learns or measures: where it stands, what
# it keeps and shows, and how fast it is.
FREE_KEYS = (
    "CUDNN_BENCHMARK", "DATALOADER.NUM_WORKERS", "GUARDS", "LOG",
    "MODEL.DEVICE",  # detected on each machine; numbers differ by their rounding
    "MODEL.TRUST_WEIGHTS", "OUTPUT_DIR", "SOLVER.CHECKPOINT_EPOCHS",
    "SOLVER.CHECKPOINT_IN_BACKGROUND", "SOLVER.CHECKPOINT_PERIOD", "SOLVER.KEEP_CHECKPOINTS",
    "SOLVER.KEEP_EVERY", "TUNE_ALLOCATOR", "VERSION", "VIS_PERIOD",
)  # fmt: skip


def is_among(key, keys):
    """Return True if a key is one of some keys and groups of keys."""
    return any(f"{key}.".startswith(f"{x}.") for x in keys)


def flatten(node, prefix="", separator="."):
    """Yield (key, value) of every leaf of a nested dict, such as ("SOLVER.MAX_ITER", 90000)."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}{separator}", separator)
        else:
            yield f"{prefix}{key}", value
