"""The data sets of DATASETS.TRAIN and DATASETS.TEST: names that detectron2 knows, and paths."""

import functools
import importlib.util
import logging
import os

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...utils.errors import prefix_errors
from .builtin import builtin_sources
from .check import DataCheck, check_registered
from .forms import ends_in_a_path, open_entry
from .label_check import LabelCheck
from .paths import builtin_root
from .registration import EntryReader, forget, read_as_entry, register
from .subsets import parse_subset, subset_source
from .voc import names_by_image

logger = logging.getLogger(__name__)

_ENTRY = "ENTRY"  # in the place of a config key
# What detectron2 needs to read and to evaluate data sets of a kind.
_PACKAGES = {"cityscapes_instance": ("cityscapesscripts", "shapely")}


def register_datasets(cfg, labels=True):
    """Register every entry of DATASETS.TRAIN and DATASETS.TEST that is not registered yet.

    Entries are registered under their own text, so the config does not change.

    Args:
        cfg: config.
        labels: see :func:`resolve_dataset`.
    """
    for key in ("DATASETS.TRAIN", "DATASETS.TEST"):
        for entry in cfg.DATASETS[key.split(".")[1]]:
            resolve_dataset(entry, key, labels)
            _check_packages(entry, key)
            _warn_if_absent(entry, key)


def resolve_dataset(entry, key="DATASETS.TRAIN", labels=True):
    """Make sure that ``entry`` is a registered data set.

    Args:
        entry: see :data:`~.forms.FORMS`.
        key: config key that holds the entry. Errors start with both, also those raised later, when
            the data set is loaded.
        labels: what the labels say of the metadata, such as the names of classes, is read now.
            Pre-training has no need of it: then a function ``image_dicts`` in the metadata lists
            the images alone, and faults of labels do no harm.

    Returns:
        the name it is registered under: ``entry`` itself. A COCO json that other code registered
        is read as an entry is.
    """
    is_new = entry not in DatasetCatalog
    if is_new:
        register(entry, *_opened(entry, key))
    elif labels:
        read_as_entry(entry, f"{key}: {entry!r}")
    reader = DatasetCatalog.data[entry]
    if labels and isinstance(reader, EntryReader):
        try:
            reader.read_labels()
        except (OSError, ValueError):
            if is_new:  # so that it can be named again once its files are right
                DatasetCatalog.remove(entry)
                MetadataCatalog.remove(entry)
            raise
    return entry


def check_entry(entry, decode=False):
    """Check a data set, registered or not; faults are in the result.

    Args:
        entry: see :data:`~.forms.FORMS`.
        decode: read all pixels of the images, not only the headers.

    Returns:
        :class:`~.check.DataCheck`.
    """
    try:
        resolve_dataset(entry, _ENTRY, labels=False)
    except (OSError, ValueError) as error:
        return DataCheck(entry, error=_plain(error, entry))
    try:
        resolve_dataset(entry, _ENTRY)
        error = ""
    except (OSError, ValueError) as found:
        error = _plain(found, entry)
    check = check_registered(entry, labels=not error, decode=decode)
    check.error = _plain(check.error, entry)
    if error and not check.error:
        check.labels = LabelCheck(error=error)
    elif check.error:  # the same, if the labels have one
        check.labels = None
    return check


def _plain(error, entry):
    """Return a message without the entry in front of it."""
    text, where = str(error), f"{_ENTRY}: {entry!r}: "
    return text[len(where) :] if text.startswith(where) else text


def _opened(entry, key):
    """Return (Source of an entry, what errors about it start with)."""
    where = f"{key}: {entry!r}"
    subset = None if ends_in_a_path(entry) else parse_subset(entry)
    if subset is None:
        with prefix_errors(where):
            return open_entry(entry), where
    resolve_dataset(subset[0], key, labels=False)
    with prefix_errors(where):
        if key == "DATASETS.TEST":
            raise ValueError(
                "a share of a data set is for training with few labels. Evaluate on a whole data "
                "set."
            )
        return subset_source(
            *subset, entry, functools.partial(resolve_dataset, subset[0], key)
        ), where


def forget_datasets():
    """Unregister every entry, so that it is read as its files are now.

    A notebook changes labels between two runs. Built-in data sets are registered anew.
    """
    forget()
    names_by_image.cache_clear()
    register_builtin()


def register_builtin():
    """Register :mod:`~dense_ssl.data.sources.builtin`, except what is registered already."""
    for name, source in builtin_sources().items():
        if name not in DatasetCatalog:
            register(name, source, repr(name))


def _check_packages(name, key):
    """Raise if detectron2 reads a data set with packages that are not installed."""
    kind = MetadataCatalog.get(name).get("evaluator_type")
    absent = [x for x in _PACKAGES.get(kind, ()) if importlib.util.find_spec(x) is None]
    if absent:
        raise ValueError(
            f"{key}: {name!r} is read and evaluated by other packages: "
            f"pip install {' '.join(absent)}."
        )


def _warn_if_absent(name, key):
    """Say how to find detectron2's own data sets if their files are missing.

    A warning only: evaluation alone needs no training data, and the other way round.
    """
    root = builtin_root()
    meta = MetadataCatalog.get(name)
    for path in (meta.get("json_file"), meta.get("image_root"), meta.get("dirname")):
        if path and path.startswith(os.path.join(root, "")) and not os.path.exists(path):
            logger.warning(
                f"{key}: {name!r} looks for {path}, which does not exist. Set the environment "
                f"variable DETECTRON2_DATASETS (now {root!r}) to the folder of the data sets."
            )
            return


register_builtin()
