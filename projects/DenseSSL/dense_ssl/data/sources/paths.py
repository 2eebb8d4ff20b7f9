"""Where the paths in entries of DATASETS are."""

import os


def builtin_root():
    """Return the folder that holds detectron2's own data sets: DETECTRON2_DATASETS."""
    return os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets"))


def located(path):
    """Return a path with ``~`` expanded.

    A relative path that does not exist here may exist below DETECTRON2_DATASETS, so that a yaml can
    name data without the folder of one machine.
    """
    path = os.path.expanduser(path)
    below = os.path.join(builtin_root(), path)
    is_below = path and not os.path.exists(path) and os.path.exists(below)
    return below if is_below else path
