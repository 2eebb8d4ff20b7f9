"""Losses over large matrices of similarities, a part of the rows at a time."""

from torch.utils.checkpoint import checkpoint

# Entries of the largest matrix that is held at once: 32 MiB in float32.
MAX_ENTRIES = 2**23


def over_chunks(function, rows, num_columns, max_entries=None):
    """Apply ``function`` to consecutive parts of the rows and sum what it returns.

    A contrastive loss needs the similarity of every row to every column, and its gradient needs
    them again. Here a part of the rows is computed, reduced and forgotten, and computed once more
    in the backward pass: memory is that of one part, at the price of a second product.

    Args:
        function: takes the parts of ``rows`` and returns a sum over rows; deterministic.
        rows: tuple of tensors whose first dimension is cut (all of the same length).
        num_columns: entries of the matrix per row.
        max_entries: entries of one part; None: :data:`MAX_ENTRIES`. If all fit, nothing is
            computed twice.

    Returns:
        Scalar.
    """
    size = max((max_entries or MAX_ENTRIES) // max(num_columns, 1), 1)
    if len(rows[0]) <= size:
        return function(*rows)
    return sum(
        checkpoint(function, *parts, use_reentrant=False, preserve_rng_state=False)
        for parts in zip(*(x.split(size) for x in rows))
    )
