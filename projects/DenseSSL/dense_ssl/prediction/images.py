"""The images that a user names: files, folders and patterns."""

import glob
import logging
import os

from ..data.image_io import BrokenImageError, read_image
from ..data.sources.folder import list_image_folder
from ..utils.progress import progress

logger = logging.getLogger(__name__)


def find_images(inputs, without=()):
    """Return (root, names): all images of some inputs, each once, in the order of the inputs.

    Args:
        inputs: files of any extension, folders (with their sub-folders) or glob patterns.
        without: files and folders whose images are left out, as a tool has written them.

    Returns:
        the deepest folder that holds all of them, and their paths below it.

    Raises:
        FileNotFoundError: an input is nothing of these, or a pattern fits no file.
        ValueError: a folder has no images, or none that is not left out.
    """
    paths = [os.path.abspath(path) for x in inputs for path in _files_of(os.path.expanduser(x))]
    found, without = list(dict.fromkeys(paths)), [os.path.abspath(x) for x in without]
    paths = [x for x in found if not any(f"{x}/".startswith(f"{y}/") for y in without)]
    if len(paths) < len(found):
        logger.warning("left out: %d images that this tool has written", len(found) - len(paths))
    if not paths:
        raise ValueError("the only images are those that this tool has written.")
    root = os.path.commonpath([os.path.dirname(x) for x in paths])
    return root, [os.path.relpath(x, root) for x in paths]


def _files_of(path):
    if os.path.isdir(path):
        return [x["file_name"] for x in list_image_folder(path)]
    if os.path.isfile(path):
        return [path]
    found = sorted(x for x in glob.glob(path, recursive=True) if os.path.isfile(x))
    if not found:
        raise FileNotFoundError(
            f"{path!r} is no image file, no folder, and no pattern that fits a file "
            f"(here: {os.getcwd()})."
        )
    return found


def read_images(root, names, broken, description):
    """Read images one after the other, with a progress bar.

    Args:
        root, names: result of :func:`find_images`.
        broken: list; names of files that cannot be read are added, and the reason is logged.
        description: for the progress bar.

    Yields:
        (name, uint8 (H, W, 3) in RGB).
    """
    for name in progress(names, description):
        try:
            image = read_image(os.path.join(root, name))
        except BrokenImageError as error:
            broken.append(name)
            logger.warning("skipped: %s", error)
        else:
            yield name, image
