"""The data sets of DATASETS.TRAIN and DATASETS.TEST: names that detectron2 knows, and paths."""

import difflib
import functools
import importlib.util
import logging
import os
import re

from detectron2.data import DatasetCatalog, MetadataCatalog

from .coco import register_coco
from .folder import builtin_root, check_folder, list_image_folder
from .semantic import register_semseg, register_vocseg
from .semantic_builtin import register_builtin_label_maps
from .subsets import parse_subset, register_subset
from .voc import register_voc

__all__ = ["list_image_folder", "register_datasets", "resolve_dataset"]

logger = logging.getLogger(__name__)

FORMS = """
  a name registered in detectron2, such as coco_2017_train
  folder:IMAGES                 a folder of images, without labels
  coco:ANNOTATIONS.json:IMAGES  a COCO json and its image folder
  voc:ROOT:SPLIT[:YEAR]         a VOC folder and a file of its ImageSets/Main
  semseg:IMAGES:LABELS[:CLASSES.txt]  a folder of images, one of label maps, the class names
  vocseg:ROOT:SPLIT[:LABELS]    a VOC folder, a file of its ImageSets/Segmentation
  ENTRY_5pct_seed0              for training: 5 % of the images of one of the above, by a seed"""

# Names for folders without labels, below the folder that DETECTRON2_DATASETS points at.
BUILTIN_FOLDERS = {
    "imagenet_train": "imagenet/train",
    "coco_2017_unlabeled": "coco/unlabeled2017",
}

# What detectron2 needs to read and to evaluate data sets of a kind.
_PACKAGES = {"cityscapes_instance": ("cityscapesscripts", "shapely")}


def register_datasets(cfg):
    """Register every entry of DATASETS.TRAIN and DATASETS.TEST that is not registered yet.

    Entries are registered under their own text, so the config stays as it is.
    """
    for key in ("TRAIN", "TEST"):
        for entry in cfg.DATASETS[key]:
            name = resolve_dataset(entry, f"DATASETS.{key}")
            _check_packages(name, f"DATASETS.{key}")
            _warn_if_absent(name, f"DATASETS.{key}")


def resolve_dataset(entry, key="DATASETS.TRAIN"):
    """Make sure that ``entry`` is a registered data set.

    Args:
        entry: see :data:`FORMS`.
        key: config key to name in errors.

    Returns:
        the name it is registered under: ``entry`` itself.
    """
    if entry in DatasetCatalog:
        return entry
    subset = parse_subset(entry)
    if subset and not _ends_in_a_path(entry):
        register_subset(entry, resolve_dataset(subset[0], key), *subset[1:], key)
        return entry
    form, _, rest = entry.partition(":")
    if form == "folder" and rest:
        check_folder(os.path.expanduser(rest), key)
        MetadataCatalog.get(entry).set(has_labels=False)
        DatasetCatalog.register(entry, functools.partial(list_image_folder, rest, key))
        return entry
    # paths may hold colons themselves, so the fields are told apart by what surrounds them
    coco = re.fullmatch(r"(.+?\.json):(.+)", rest) if form == "coco" else None
    if coco:
        register_coco(entry, coco[1], coco[2], key)
        return entry
    voc = re.fullmatch(r"(.+?):([^:/]+)(?::(\d{4}))?", rest) if form == "voc" else None
    if voc:
        register_voc(entry, voc[1], voc[2], int(voc[3] or 2012), key)
        return entry
    if form == "semseg" and re.fullmatch(".+:.+", rest):
        register_semseg(entry, rest, key)
        return entry
    vocseg = re.fullmatch(r"(.+?):([^:/]+)(?::([^:/]+))?", rest) if form == "vocseg" else None
    if vocseg:
        register_vocseg(entry, *vocseg.groups(), key)
        return entry
    raise ValueError(f"{key}: {entry!r} is no data set.{_suggestion(entry)} Entries may be:{FORMS}")


def _ends_in_a_path(entry):
    """Is the last field of ``entry`` a path that exists, whatever its name looks like?"""
    return any(os.path.exists(os.path.expanduser(x)) for x in (entry, *_tails(entry)))


def _tails(entry):
    """'a:b:c' -> 'b:c', 'c'."""
    while ":" in entry:
        _, _, entry = entry.partition(":")
        yield entry


def _suggestion(entry):
    path = os.path.expanduser(entry)
    if os.path.isdir(path):
        return f" Did you mean 'folder:{entry}'?"
    if os.path.isfile(path) and entry.endswith(".json"):
        return f" Did you mean 'coco:{entry}:IMAGES', IMAGES being its image folder?"
    near = difflib.get_close_matches(entry, DatasetCatalog.list(), n=3)
    form, colon, rest = entry.partition(":")
    if colon:
        known = ("folder", "coco", "voc", "semseg", "vocseg")
        forms = difflib.get_close_matches(form.lower(), known, n=1)
        near += [f"{x}:{rest}" for x in forms if x != form]
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def _check_packages(name, key):
    """Raise where detectron2 reads a data set by packages that are not there."""
    kind = MetadataCatalog.get(name).get("evaluator_type")
    absent = [x for x in _PACKAGES.get(kind, ()) if importlib.util.find_spec(x) is None]
    if absent:
        raise ValueError(
            f"{key}: {name!r} is read and evaluated by other packages: "
            f"pip install {' '.join(absent)}."
        )


def _warn_if_absent(name, key):
    """Say how to get at detectron2's own data sets where their files are not there.

    A warning only: evaluation alone needs no training data, and the other way round.
    """
    root = builtin_root()
    meta = MetadataCatalog.get(name)
    for path in (meta.get("json_file"), meta.get("image_root"), meta.get("dirname")):
        if path and path.startswith(os.path.join(root, "")) and not os.path.exists(path):
            logger.warning(
                "%s: %r looks for %s, which does not exist. Set the environment variable "
                "DETECTRON2_DATASETS (now %r) to the folder that holds the data sets.",
                key,
                name,
                path,
                root,
            )
            return


def _load_builtin_folder(name, folder):
    path = os.path.join(builtin_root(), folder)
    if not os.path.isdir(path):
        raise FileNotFoundError(
            f"DATASETS.TRAIN: {name!r} is the folder {path!r}, which does not exist. Set the "
            f"environment variable DETECTRON2_DATASETS to the folder that holds {folder}, or "
            "name the images as 'folder:IMAGES'."
        )
    return list_image_folder(path)


def _register_builtin_folders():
    for name, folder in BUILTIN_FOLDERS.items():
        if name not in DatasetCatalog:  # the user's own registration comes first
            MetadataCatalog.get(name).set(has_labels=False)
            DatasetCatalog.register(name, functools.partial(_load_builtin_folder, name, folder))


_register_builtin_folders()
register_builtin_label_maps()
