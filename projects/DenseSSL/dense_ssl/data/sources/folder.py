"""Folders of images without labels."""

import functools
import logging
import os
import time
from collections import Counter

from PIL import Image

from ...utils.printable import printable
from ...utils.progress import progress
from ..image_names import FileNames, NumberedImages
from .folder_index import Listing, read_index, state_of, write_index
from .paths import located
from .source import Source

logger = logging.getLogger(__name__)

# Pillow's names of formats for photos. Which of them it can read depends on how it was built.
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
IMAGE_EXTENSIONS = frozenset(
    extension[1:]
    for extension, name in Image.registered_extensions().items()
    if name in _FORMATS and name in Image.OPEN
)


_skipped = {}  # by the folders that were listed


def folder_source(path):
    """Open a folder of images.

    Returns:
        :class:`~.source.Source`.
    """
    path = located(path)
    check_folder(path, "a folder of images")
    return Source(
        functools.partial(list_image_folder, path), {"has_labels": False, "image_folder": path}
    )


def list_image_folder(path):
    """List all images in a folder and its sub-folders, in the order of their paths.

    Linked folders are followed; hidden files and folders are left out. So are pipes, sockets,
    devices, links that lead nowhere and folders that cannot be read, with a warning. No image is
    opened, so a million files take seconds; whether they can be read shows in training.

    Returns:
        :class:`~dense_ssl.data.image_names.NumberedImages`.
    """
    folder = os.path.expanduser(path)
    check_folder(folder, "a folder of images")
    listing = read_index(folder, IMAGE_EXTENSIONS) or _list(folder, path)
    images, others = NumberedImages(listing.names), Counter(listing.others)
    seen = ", ".join(
        f"{n} x .{printable(x)}" if x else f"{n} without" for x, n in others.most_common(8)
    )
    if not images:
        raise ValueError(
            f"no images in {path!r} or below. Looked for the extensions "
            f"{', '.join(sorted(IMAGE_EXTENSIONS))}; found {seen or 'no files at all'}."
        )
    _skipped[folder] = dict(others.most_common())
    if others:
        logger.info("%s: %d images; left out by their extensions: %s", printable(path), len(images),
                    seen)  # fmt: skip
    return images


def _list(folder, path):
    """Return the :class:`~.folder_index.Listing` of a folder, and keep it."""
    listing, skipped = Listing(FileNames(()), Counter(), begin=time.time()), {}
    files = _image_files(folder, frozenset(), listing, skipped)
    listing.names = FileNames(progress(files, f"Listing {printable(path)}"))
    for kind, names in skipped.items():
        logger.warning("%s: %d %s skipped, the first one %s", printable(path), len(names), kind,
                       printable(names[0]))  # fmt: skip
    # where links lead, and what can be read, may change without a new time of a folder
    if not skipped and not listing.links:
        write_index(folder, IMAGE_EXTENSIONS, listing)
    return listing


def skipped_files(folder):
    """Return {extension, "" for none: number of files} left out where a folder was listed last.

    Args:
        folder: listed itself, or folders in it.
    """
    folder, total = os.path.expanduser(folder), Counter()
    for path, others in _skipped.items():
        if path == folder or path.startswith(os.path.join(folder, "")):
            total.update(others)
    return dict(total.most_common())


def check_folder(path, what):
    """Raise if ``path`` is not a folder; ``what`` says what it should be."""
    if not os.path.exists(path):
        where = f" (here: {os.getcwd()})" if not os.path.isabs(path) else ""
        raise FileNotFoundError(f"{path!r}{where} does not exist; it should be {what}.")
    if not os.path.isdir(path):
        raise NotADirectoryError(f"{path!r} is a file; it should be {what}.")


def is_folder(entry):
    """Return True for a folder or a link to one; False also for a link that leads nowhere."""
    return _holds(entry.is_dir)


def _holds(test):
    """Return the result of an entry's test, which asks the disk about links alone."""
    try:
        return test()
    except OSError:  # a link to itself
        return False


def _image_files(folder, parents, listing, skipped):
    """Yield the paths of the images below ``folder``.

    Args:
        parents: (device, inode) of the folders above, so that a link to one of them does not
            cause an endless loop.
        listing: :class:`~.folder_index.Listing`; its folders, others and links are filled in.
        skipped: {kind: [path]} of what is no readable file or folder; filled in.
    """
    try:
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in parents:
            return
        listing.folders.append([folder, state_of(status)])
        with os.scandir(folder) as entries:
            entries = sorted((x for x in entries if x.name[0] != "."), key=lambda x: x.name)
    except OSError as error:
        if not parents:
            raise
        reason = (error.strerror or "").lower()
        skipped.setdefault(f"sub-folders that cannot be read ({reason})", []).append(folder)
        return
    for entry in entries:
        stem, _, extension = entry.name.rpartition(".")
        extension = extension.lower() if stem else ""
        if is_folder(entry):
            yield from _image_files(entry.path, parents | {here}, listing, skipped)
        elif extension in IMAGE_EXTENSIONS and not _holds(entry.is_file):
            kind = "links that lead nowhere" if entry.is_symlink() else "pipes, sockets or devices"
            skipped.setdefault(kind, []).append(entry.path)
        elif extension in IMAGE_EXTENSIONS:
            listing.links += entry.is_symlink()
            yield entry.path
        else:
            listing.links += entry.is_symlink()
            listing.others[extension] += 1
