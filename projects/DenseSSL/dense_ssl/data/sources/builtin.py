"""Names for data sets below the folder that DETECTRON2_DATASETS points at.

====================================  ============================================================
imagenet_train                        imagenet/train/
coco_2017_unlabeled                   coco/unlabeled2017/
voc_2012_sem_seg_{train, trainaug,    VOC2012/; trainaug takes the label maps of SBD in
val, trainval}                        SegmentationClassAug and ImageSets/Segmentation/trainaug.txt
cityscapes_sem_seg_{train, val}       cityscapes/{leftImg8bit, gtFine}/, as downloaded
camvid_sem_seg_{train, val, test}     camvid/{train, trainannot, ...}, in SegNet's 11 classes
====================================  ============================================================
"""

import os
from functools import partial

from detectron2.data import MetadataCatalog

from .folder import list_image_folder
from .label_map_check import check_label_maps
from .label_maps import label_map_metadata
from .paths import builtin_root
from .semantic import VOC_CLASSES, load_voc_label_maps, pair_by_name, voc_label_folder
from .source import Source

# The 19 classes that are evaluated, by their value in gtFine's labelIds; labelTrainIds, which
# cityscapesscripts makes of them, count them from 0.
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CAMVID_CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence",
                  "car", "pedestrian", "bicyclist")  # fmt: skip
_CAMVID_UNLABELLED = 11


def _folder(*parts):
    """Return a folder below the root, which may have moved since registration."""
    path = os.path.join(builtin_root(), *parts)
    if not os.path.isdir(path):
        raise FileNotFoundError(
            f"the folder {path!r} does not exist. Set the environment variable "
            f"DETECTRON2_DATASETS to the folder that holds {os.path.join(*parts)}, or name the "
            "data by their own paths: 'folder:IMAGES', 'semseg:IMAGES:LABELS:CLASSES.txt' or "
            "'vocseg:ROOT:SPLIT'."
        )
    return path


def _load_images(folder):
    return list_image_folder(_folder(folder))


def _load_voc(split):
    labels = _folder("VOC2012", voc_label_folder(split))
    return load_voc_label_maps(os.path.dirname(labels), split, labels)


def _load_cityscapes(split):
    images = _folder("cityscapes", "leftImg8bit", split)
    labels = _folder("cityscapes", "gtFine", split)
    dicts = pair_by_name(images, labels, "_leftImg8bit", "_gtFine_labelIds")
    if not dicts:
        raise FileNotFoundError(f"no image below {images!r} is named *_leftImg8bit.png.")
    return dicts


def _load_camvid(split):
    return pair_by_name(_folder("camvid", split), _folder("camvid", f"{split}annot"))


def builtin_sources():
    """Return {name: Source} of the names above."""
    folders = {"imagenet_train": "imagenet/train", "coco_2017_unlabeled": "coco/unlabeled2017"}
    sources = {k: Source(partial(_load_images, x), {"has_labels": False})
               for k, x in folders.items()}  # fmt: skip
    cityscapes = MetadataCatalog.get("cityscapes_fine_sem_seg_train").stuff_classes
    for name, splits, load, metadata in (
        ("voc_2012", ("train", "trainaug", "val", "trainval"), _load_voc,
         label_map_metadata(VOC_CLASSES)),
        ("cityscapes", ("train", "val"), _load_cityscapes,
         label_map_metadata(cityscapes, CITYSCAPES_IDS, None)),
        ("camvid", ("train", "val", "test"), _load_camvid,
         label_map_metadata(CAMVID_CLASSES, ignored=(_CAMVID_UNLABELLED,))),
    ):  # fmt: skip
        for split in splits:
            full = f"{name}_sem_seg_{split}"
            read = partial(load, split)
            sources[full] = Source(read, metadata, check=partial(check_label_maps, full, read))
    return sources
