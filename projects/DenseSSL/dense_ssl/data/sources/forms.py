"""The forms of an entry of DATASETS, and the source of data that each names."""

import difflib
import os
import re

from detectron2.data import DatasetCatalog

from .classes import classes_source
from .coco import coco_source
from .folder import folder_source
from .semantic import semseg_source, vocseg_source
from .shards import shards_source
from .voc_source import voc_source

FORMS = """
  a name registered in detectron2, such as coco_2017_train
  folder:IMAGES                 a folder of images, without labels
  shards:/data/{000..999}.tar   tar archives of images, without labels; also /data/*.tar
  classes:FOLDER                one folder of images for each class
  coco:ANNOTATIONS.json:IMAGES  a COCO json and its image folder
  voc:ROOT:SPLIT[:YEAR]         a VOC folder and a file of its ImageSets/Main, or a folder
                                ROOT/SPLIT with xml files beside the images (Roboflow)
  semseg:IMAGES:LABELS[:CLASSES.txt]  a folder of images, one of label maps, the class names
  vocseg:ROOT:SPLIT[:LABELS]    a VOC folder, a file of its ImageSets/Segmentation
  ENTRY_5pct_seed0              for training: 5 % of the images of one of the above, by a seed
Relative paths start here or below DETECTRON2_DATASETS."""

# Paths may hold colons themselves, so the fields are recognised by what surrounds them. The groups
# are the arguments of the functions, which return a Source.
_OPENERS = {
    "folder": (r"folder:(?P<path>.+)", folder_source),
    "shards": (r"shards:(?P<pattern>.+)", shards_source),
    "classes": (r"classes:(?P<path>.+)", classes_source),
    "coco": (r"(?P<name>coco:(?P<json_file>.+?\.json):(?P<image_root>.+))", coco_source),
    "voc": (r"voc:(?P<root>.+?):(?P<split>[^:/]+)(:(?P<year>\d{4}))?", voc_source),
    "semseg": (r"(?P<name>semseg:(?P<fields>.+:.+))", semseg_source),
    "vocseg": (
        r"(?P<name>vocseg:(?P<root>.+?):(?P<split>[^:/]+)(:(?P<labels>[^:/]+))?)",
        vocseg_source,
    ),
}


def open_entry(entry):
    """Return the :class:`~.source.Source` of an entry.

    Raises:
        ValueError: it has none of the forms, or its files are not what the form says.
    """
    for pattern, open_form in _OPENERS.values():
        match = re.fullmatch(pattern, entry)
        if match:
            return open_form(**match.groupdict())
    raise ValueError(f"not a data set.{_suggestion(entry)} Entries may be:{FORMS}")


def ends_in_a_path(entry):
    """Return True if the entry, or what follows one of its colons, is a path that exists."""
    parts = entry.split(":")
    tails = (":".join(parts[i:]) for i in range(len(parts)))
    return any(os.path.exists(os.path.expanduser(x)) for x in tails)


def _suggestion(entry):
    path = os.path.expanduser(entry)
    if os.path.isdir(path):
        return f" Did you mean 'folder:{entry}'?"
    if entry.startswith("voc:") and os.path.isdir(os.path.expanduser(entry[4:])):
        head, name = os.path.split(entry[4:].rstrip("/"))
        return f" Did you mean 'voc:{head or '.'}:{name}'?"
    if os.path.isfile(path) and entry.endswith(".json"):
        return f" Did you mean 'coco:{entry}:IMAGES', IMAGES being its image folder?"
    near = difflib.get_close_matches(entry, DatasetCatalog.list(), n=3)
    form, colon, rest = entry.partition(":")
    if colon:
        forms = difflib.get_close_matches(form.lower(), _OPENERS, n=1)
        near += [f"{x}:{rest}" for x in forms if x != form]
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
