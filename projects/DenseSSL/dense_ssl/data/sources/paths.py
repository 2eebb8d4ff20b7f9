"""Where the paths in entries of DATASETS are."""

import logging
import os

from ...utils.printable import printable

logger = logging.getLogger(__name__)


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


def warn_outside(dicts, root, what):
    """Warn of images that are not below the folder of their data set.

    A label file from elsewhere could otherwise name any file of this machine without a word.

    Args:
        dicts: with ``file_name``.
        root: folder.
        what: names the images, such as the path of the label file.
    """
    below = os.path.join(os.path.abspath(root), "")
    names = [x["file_name"] for x in dicts]
    outside = [x for x in names if not os.path.abspath(x).startswith(below)]
    if outside:
        logger.warning(
            "%s names %d of %d images outside of %s, the first one %s. They are read: use the file "
            "only if you trust whoever made it.",
            printable(what), len(outside), len(names), printable(root), printable(outside[0]),
        )  # fmt: skip
