"""Lengths that have a key in epochs and one in iterations."""

# (key in epochs, key in iterations that it replaces)
EPOCH_KEYS = (
    ("SOLVER.EPOCHS", "SOLVER.MAX_ITER"),
    ("SOLVER.WARMUP_EPOCHS", "SOLVER.WARMUP_ITERS"),
    ("SOLVER.CHECKPOINT_EPOCHS", "SOLVER.CHECKPOINT_PERIOD"),
    ("TEST.EVAL_EPOCHS", "TEST.EVAL_PERIOD"),
)


def prefer_stated_iterations(pairs):
    """Return ``KEY VALUE`` pairs with 0 epochs where iterations alone are stated.

    Epochs replace iterations. So ``SOLVER.MAX_ITER 100`` would do nothing on a yaml with
    SOLVER.EPOCHS, though it was stated last. Nor would ``SOLVER.STEPS`` with SOLVER.STEP_SHARES.
    """
    stated = set(pairs[::2])
    added = [
        x for epochs, iterations in EPOCH_KEYS if iterations in stated and epochs not in stated
        for x in (epochs, 0)
    ]  # fmt: skip
    if "SOLVER.STEPS" in stated and "SOLVER.STEP_SHARES" not in stated:
        added += ["SOLVER.STEP_SHARES", ()]
    return [*pairs, *added]
