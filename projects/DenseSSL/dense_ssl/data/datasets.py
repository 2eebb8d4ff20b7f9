"""The data sets of DATASETS.TRAIN and DATASETS.TEST: names that detectron2 knows, and paths."""

import difflib
import functools
import logging
import os
import re

from detectron2.data import DatasetCatalog, MetadataCatalog

from .coco_datasets import register_coco
from .folder_datasets import check_folder, list_image_folder
from .semantic_builtin import register_builtin_label_maps
from .semantic_datasets import register_semseg, register_vocseg
from .voc_datasets import register_voc

__all__ = ["check_num_classes", "list_image_folder", "register_datasets", "resolve_dataset"]

logger = logging.getLogger(__name__)

FORMS = """
  a name registered in detectron2, such as coco_2017_train
  folder:IMAGES                 a folder of images, without labels
  coco:ANNOTATIONS.json:IMAGES  a COCO json and its image folder
  voc:ROOT:SPLIT[:YEAR]         a VOC folder and a file of its ImageSets/Main
  semseg:IMAGES:LABELS[:CLASSES.txt]  a folder of images, one of label maps, the class names
  vocseg:ROOT:SPLIT[:LABELS]    a VOC folder, a file of its ImageSets/Segmentation"""

# Names for folders without labels, below the folder that DETECTRON2_DATASETS points at.
BUILTIN_FOLDERS = {
    "imagenet_train": "imagenet/train",
    "coco_2017_unlabeled": "coco/unlabeled2017",
}

# Where detectors keep their number of classes.
_CLASS_KEYS = {
    "GeneralizedRCNN": "ROI_HEADS",
    "PanopticFPN": "ROI_HEADS",
    "RetinaNet": "RETINANET",
    "SemanticSegmentor": "SEM_SEG_HEAD",
}


def register_datasets(cfg):
    """Register every entry of DATASETS.TRAIN and DATASETS.TEST that is not registered yet.

    Entries are registered under their own text, so the config stays as it is.
    """
    for key in ("TRAIN", "TEST"):
        for entry in cfg.DATASETS[key]:
            name = resolve_dataset(entry, f"DATASETS.{key}")
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


def _warn_if_absent(name, key):
    """Say how to get at detectron2's own data sets where their files are not there.

    A warning only: evaluation alone needs no training data, and the other way round.
    """
    root = _builtin_root()
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


def check_num_classes(cfg):
    """Raise where a detector is built for another number of classes than its data have."""
    part = _CLASS_KEYS.get(cfg.MODEL.META_ARCHITECTURE)
    if part is None:
        return
    for dataset_key in ("TRAIN", "TEST"):
        for name in cfg.DATASETS[dataset_key]:
            meta = MetadataCatalog.get(name)
            if dataset_key == "TRAIN" and not meta.get("has_labels", True):
                raise ValueError(
                    f"DATASETS.TRAIN: {name!r} has no labels, so it can be pre-trained on, but no "
                    f"{cfg.MODEL.META_ARCHITECTURE} can learn from it. Name a labelled data set."
                )
            classes = meta.get("stuff_classes" if part == "SEM_SEG_HEAD" else "thing_classes")
            if classes and len(classes) != cfg.MODEL[part].NUM_CLASSES:
                raise ValueError(
                    f"MODEL.{part}.NUM_CLASSES is {cfg.MODEL[part].NUM_CLASSES}, but {name!r} of "
                    f"DATASETS.{dataset_key} has {len(classes)} classes. Set "
                    f"MODEL.{part}.NUM_CLASSES {len(classes)}, or name another data set."
                )


def _builtin_root():
    return os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets"))


def _load_builtin_folder(name, folder):
    path = os.path.join(_builtin_root(), folder)
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
