"""Images in tar archives, as WebDataset writes them: few large files instead of many small ones.

The archives are indexed once and then read at any place, not as a stream. So a run sees the same
images in the same order as from a folder, for any number of workers, and resumes exactly.
"""

import dataclasses
import functools
import glob
import logging
import os
import tarfile

from ...utils.printable import printable
from ...utils.progress import progress
from ..image_names import NumberedImages
from ..tar_members import member_path
from .check_cache import cached
from .folder import IMAGE_EXTENSIONS
from .paths import builtin_root
from .source import Source

logger = logging.getLogger(__name__)


@dataclasses.dataclass
class ArchiveIndex:
    """The images of an archive, in its order.

    Attributes:
        names, starts, sizes: lists; where the bytes of each are.
        others: number of other files.
    """

    names: list
    starts: list
    sizes: list
    others: int


def shards_source(pattern):
    """Open tar archives with images, without labels.

    Args:
        pattern: path with ``{000..999}`` as in a shell, or ``*``.

    Returns:
        :class:`~.source.Source`.
    """
    archives = expand(pattern)
    return Source(functools.partial(list_archives, tuple(archives)), {"has_labels": False})


def expand(pattern):
    """Return the paths that a pattern of archives names, in its order.

    Raises:
        FileNotFoundError: some do not exist.
    """
    pattern = os.path.expanduser(pattern)
    found = _matches(pattern)
    if not os.path.isabs(pattern) and not any(map(os.path.isfile, found)):
        below = _matches(os.path.join(builtin_root(), pattern))
        found = below if any(map(os.path.isfile, below)) else found
    missing = [x for x in found if not os.path.isfile(x)]
    if missing or not found:
        first = missing[0] if missing else pattern
        raise FileNotFoundError(
            f"{len(missing) or 'all'} of the archives of {pattern!r} are not there, first "
            f"{first!r}. Correct the pattern, such as '/data/train-{{000..999}}.tar' or "
            "'/data/*.tar', or fetch them."
        )
    return found


def _matches(pattern):
    patterns = [pattern]
    if "{" in pattern and not os.path.exists(pattern):
        try:
            from braceexpand import braceexpand
        except ImportError as error:
            raise ImportError(
                f"the braces of {pattern!r} need a package: pip install braceexpand. Or name the "
                "archives with *: '/data/*.tar'."
            ) from error
        patterns = list(braceexpand(pattern))
    found = []
    for x in patterns:
        found += sorted(glob.glob(x)) if glob.has_magic(x) and not os.path.exists(x) else [x]
    return found


def list_archives(archives):
    """List the images of tar archives; each is indexed once, and again if it changes.

    Returns:
        :class:`~dense_ssl.data.image_names.NumberedImages`, with names by
        :func:`~dense_ssl.data.tar_members.member_path`.
    """
    others = []

    def names():
        for path in progress(archives, "Listing archives"):
            index = cached(ArchiveIndex, path, [path], functools.partial(index_archive, path))
            others.append(index.others)
            for row in zip(index.names, index.starts, index.sizes):
                yield member_path(os.path.abspath(path), *row)

    images, skipped = NumberedImages(names()), sum(others)
    if not images:
        raise ValueError(
            f"no images in {len(archives)} archives. Looked for the extensions "
            f"{', '.join(sorted(IMAGE_EXTENSIONS))}; found {skipped} other files."
        )
    if skipped:
        logger.info("%s: %d images in %d archives; left out by their extensions: %d other files",
                    printable(archives[0]), len(images), len(archives), skipped)  # fmt: skip
    return images


def index_archive(path):
    """Return the :class:`ArchiveIndex` of a tar archive.

    Raises:
        ValueError: it is compressed, cut off or no tar archive.
    """
    index = ArchiveIndex([], [], [], 0)
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if not member.isreg() or os.path.basename(member.name).startswith("."):
                    continue
                extension = os.path.splitext(member.name)[1][1:].lower()
                if extension not in IMAGE_EXTENSIONS or member.issparse():
                    index.others += 1
                    continue
                index.names.append(member.name)
                index.starts.append(member.offset_data)
                index.sizes.append(member.size)
    except tarfile.TarError as error:
        raise ValueError(
            f"{path!r} is no tar archive that can be read at any place ({error}). It must be "
            "complete and not compressed: images do not become smaller anyway."
        ) from error
    if index.names and index.starts[-1] + index.sizes[-1] > os.path.getsize(path):
        raise ValueError(f"{path!r} is cut off: it ends in the middle of {index.names[-1]!r}.")
    return index
