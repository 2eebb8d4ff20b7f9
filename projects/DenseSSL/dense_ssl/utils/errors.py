"""Errors that say which setting they come from."""

import contextlib


@contextlib.contextmanager
def prefix_errors(prefix):
    """Put ``prefix`` in front of the message of every OSError and ValueError raised inside."""
    try:
        yield
    except UnicodeError as error:  # its constructor takes more than a message
        raise ValueError(f"{prefix}: {error}") from error
    except (OSError, ValueError) as error:
        raise type(error)(f"{prefix}: {error}") from error
