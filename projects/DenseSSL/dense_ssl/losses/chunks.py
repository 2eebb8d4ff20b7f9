"""Losses over large matrices of similarities, a part of the rows at a time."""

from torch.utils.checkpoint import checkpoint

# Entries of the largest matrix that is held at once: 32 MiB in float32, which suits the caches of
# CPUs. A GPU is idle between small parts: 256 MiB.
MAX_ENTRIES = {"cpu": 2**23, "cuda": 2**26}


def largest_part(device):
    """Return the entries of the largest matrix that is held at once on a device."""
    return MAX_ENTRIES.get(device.type, MAX_ENTRIES["cpu"])


def rows_of_part(num_columns, device, max_entries=None):
    """Return how many rows of a matrix are held at once; arguments as of :func:`over_chunks`."""
    return max((max_entries or largest_part(device)) // max(num_columns, 1), 1)


def over_chunks(function, rows, num_columns, max_entries=None):
    """Apply ``function`` to consecutive parts of the rows and sum what it returns.

    A contrastive loss needs the similarity of every row to every column, and its gradient needs
    them again. Here a part of the rows is computed, reduced and forgotten, and computed once more
    in the backward pass: memory is that of one part, at the price of a second product.

    Args:
        function: takes the parts of ``rows`` and returns a sum over rows; deterministic.
        rows: tuple of tensors whose first dimension is cut (all of the same length).
        num_columns: entries of the matrix per row.
        max_entries: entries of one part; None: :func:`largest_part`. If all fit, nothing is
            computed twice.

    Returns:
        Scalar.
    """
    size = rows_of_part(num_columns, rows[0].device, max_entries)
    if len(rows[0]) <= size:
        return function(*rows)
    return sum(
        checkpoint(function, *parts, use_reentrant=False, preserve_rng_state=False)
        for parts in zip(*(x.split(size) for x in rows))
    )
