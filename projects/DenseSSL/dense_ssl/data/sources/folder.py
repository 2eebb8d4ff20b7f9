"""Folders of images without labels."""

import os
from collections import Counter

IMAGE_EXTENSIONS = frozenset({"jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff"})


def list_image_folder(path, key="DATASETS.TRAIN"):
    """All images in a folder and its sub-folders, in the order of their paths.

    Linked folders are followed, hidden files and folders left out. No image is opened, so a million
    files take seconds; whether they can be read shows in training.

    Args:
        path: folder.
        key: config key to name in errors.

    Returns:
        list of dicts with ``file_name`` and ``image_id`` (the position in the list).
    """
    folder = os.path.expanduser(path)
    check_folder(folder, key)
    others = Counter()
    names = list(_image_files(folder, frozenset(), others))
    if not names:
        seen = ", ".join(f"{n} x .{x}" if x else f"{n} without" for x, n in others.most_common(8))
        raise ValueError(
            f"{key}: no images in {path!r} or below. Looked for the extensions "
            f"{', '.join(sorted(IMAGE_EXTENSIONS))}; found {seen or 'no files at all'}."
        )
    return [{"file_name": name, "image_id": i} for i, name in enumerate(names)]


def builtin_root():
    """The folder that detectron2's own data sets lie in: DETECTRON2_DATASETS."""
    return os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets"))


def check_folder(path, key, what="a folder of images"):
    """Raise where ``path`` is not a folder; the error names the config ``key``."""
    if not os.path.exists(path):
        where = f" (here: {os.getcwd()})" if not os.path.isabs(path) else ""
        raise FileNotFoundError(f"{key}: {path!r}{where} does not exist; it should be {what}.")
    if not os.path.isdir(path):
        raise NotADirectoryError(f"{key}: {path!r} is a file; it should be {what}.")


def _image_files(folder, parents, others):
    """Paths of images below ``folder``.

    Args:
        parents: (device, inode) of the folders above, so that a link to one of them is no endless
            loop.
        others: Counter of the extensions of other files; filled in.
    """
    status = os.stat(folder)
    here = (status.st_dev, status.st_ino)
    if here in parents:
        return
    with os.scandir(folder) as entries:
        entries = sorted((x for x in entries if x.name[0] != "."), key=lambda x: x.name)
    for entry in entries:
        stem, _, extension = entry.name.rpartition(".")
        extension = extension.lower() if stem else ""
        if entry.is_dir():
            yield from _image_files(entry.path, parents | {here}, others)
        elif extension in IMAGE_EXTENSIONS:
            yield entry.path
        else:
            others[extension] += 1
