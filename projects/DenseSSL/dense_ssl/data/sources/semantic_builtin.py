"""Names of data sets for semantic segmentation, below the folder DETECTRON2_DATASETS points at.

====================================  ============================================================
voc_2012_sem_seg_{train, trainaug,    VOC2012/; trainaug takes the label maps of SBD in
val, trainval}                        SegmentationClassAug and ImageSets/Segmentation/trainaug.txt
cityscapes_sem_seg_{train, val}       cityscapes/{leftImg8bit, gtFine}/, as downloaded
camvid_sem_seg_{train, val, test}     camvid/{train, trainannot, ...}, in SegNet's 11 classes
====================================  ============================================================
"""

import functools
import os

from detectron2.data import DatasetCatalog, MetadataCatalog

from .folder import builtin_root
from .semantic import VOC_CLASSES, load_voc_label_maps, pair_by_name, register_label_maps

VOC_SPLITS = {
    "train": "SegmentationClass",
    "val": "SegmentationClass",
    "trainval": "SegmentationClass",
    "trainaug": "SegmentationClassAug",
}
# The 19 classes that are evaluated, by their value in gtFine's labelIds; labelTrainIds, which
# cityscapesscripts makes of them, count them from 0.
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CAMVID_CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence",
                  "car", "pedestrian", "bicyclist")  # fmt: skip
_CAMVID_UNLABELLED = 11
_KEY = "DATASETS"


def _folder(name, *parts):
    """A folder below the root of the data sets, which may have moved since registration."""
    path = os.path.join(builtin_root(), *parts)
    if not os.path.isdir(path):
        raise FileNotFoundError(
            f"{_KEY}: {name!r} looks for the folder {path!r}, which does not exist. Set the "
            "environment variable DETECTRON2_DATASETS to the folder that holds "
            f"{os.path.join(*parts)}, or name the data as 'semseg:IMAGES:LABELS:CLASSES.txt' or "
            "'vocseg:ROOT:SPLIT'."
        )
    return path


def _load_voc(name, split, labels):
    folder = _folder(name, "VOC2012", labels)
    return load_voc_label_maps(os.path.dirname(folder), split, folder, _KEY)


def _load_cityscapes(name, split):
    images = _folder(name, "cityscapes", "leftImg8bit", split)
    labels = _folder(name, "cityscapes", "gtFine", split)
    dicts = pair_by_name(images, labels, _KEY, "_leftImg8bit", "_gtFine_labelIds")
    if not dicts:
        raise FileNotFoundError(f"{_KEY}: no image below {images!r} is named *_leftImg8bit.png.")
    return dicts


def _load_camvid(name, split):
    images, labels = _folder(name, "camvid", split), _folder(name, "camvid", f"{split}annot")
    return pair_by_name(images, labels, _KEY)


def _register(name, load, classes, values=None, ignored=()):
    if name not in DatasetCatalog:  # the user's own registration comes first
        register_label_maps(name, functools.partial(load, name), classes, values, ignored)


def register_builtin_label_maps():
    """Register the names above; a second time changes nothing."""
    for split, labels in VOC_SPLITS.items():
        load = functools.partial(_load_voc, split=split, labels=labels)
        _register(f"voc_2012_sem_seg_{split}", load, VOC_CLASSES)
    cityscapes = MetadataCatalog.get("cityscapes_fine_sem_seg_train").stuff_classes
    for split in ("train", "val"):
        load = functools.partial(_load_cityscapes, split=split)
        _register(f"cityscapes_sem_seg_{split}", load, cityscapes, CITYSCAPES_IDS, None)
    for split in ("train", "val", "test"):
        load = functools.partial(_load_camvid, split=split)
        _register(f"camvid_sem_seg_{split}", load, CAMVID_CLASSES, None, (_CAMVID_UNLABELLED,))
