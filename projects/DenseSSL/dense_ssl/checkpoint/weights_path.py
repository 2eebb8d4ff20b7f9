"""Where weights are: a file, or an address from which they are fetched."""

import os

from detectron2.utils.file_io import PathManager


def require_weights(path):
    """Raise unless ``path`` names a file; fetch it first if it is an address.

    Args:
        path: of MODEL.WEIGHTS; options may follow a "?".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the address cannot be fetched.
    """
    if "://" in path:
        _fetch(path)
    elif not os.path.isfile(path.partition("?")[0]):
        raise FileNotFoundError(_no_file(path))


def _no_file(path):
    """Say that there is no such file of weights, and which one a folder has."""
    if os.path.isdir(path):
        names = ("backbone.pkl", "model_final.pth", "model_best.pth")
        there = next((os.path.join(path, x) for x in names
                      if os.path.isfile(os.path.join(path, x))), "")  # fmt: skip
        return (f"MODEL.WEIGHTS is {path!r}, a folder: set it to the file of the weights"
                + (f", such as {there}." if there else "."))  # fmt: skip
    return f"There is no file {path!r}: set MODEL.WEIGHTS to the file of the weights."


def _fetch(path):
    """Download weights into iopath's cache, where they are read from."""
    try:
        PathManager.get_local_path(path.partition("?")[0])
    except Exception as error:  # each handler has its own
        raise ValueError(
            f"MODEL.WEIGHTS {path!r} cannot be fetched ({type(error).__name__}: {error}). Check "
            "its spelling and the network; or copy the file to this machine, and name it instead."
        ) from error
