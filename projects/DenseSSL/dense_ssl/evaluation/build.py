"""The evaluator of each kind of data set."""

import os
import re

from detectron2.data import MetadataCatalog

from ..data.finetune.image_mapper import classifies_images
from ..data.finetune.region_mapper import classifies_regions
from .cityscapes import CityscapesEvaluator
from .coco import COCOEvaluator
from .image_accuracy import ImageAccuracyEvaluator
from .roi_accuracy import RoIAccuracyEvaluator
from .sem_seg import build_sem_seg_evaluator
from .voc import VOCEvaluator

_KINDS = ("cityscapes_instance", "coco", "image_classes", "pascal_voc", "sem_seg")
_NEED_PACKAGES = {
    "coco_panoptic_seg": (
        "its evaluators (boxes, masks, semantic and panoptic segmentation) work only together and "
        "need the package panopticapi. Name the instances alone, such as coco_2017_val."
    ),
    "lvis": "detectron2's evaluator of it needs the package lvis, which DenseSSL does not use.",
    "cityscapes_sem_seg": (
        "detectron2's evaluator of it needs the package cityscapesscripts. Name the same images "
        "and classes as 'cityscapes_sem_seg_val', whose evaluator does not."
    ),
}


def build_evaluator(cfg, dataset_name, output_folder=None):
    """Build the evaluator of a data set, chosen by the ``evaluator_type`` of its metadata.

    Args:
        cfg: config.
        dataset_name: one of DATASETS.TEST.
        output_folder: for predictions; default: ``inference`` in OUTPUT_DIR, with a folder for each
            data set if DATASETS.TEST has several.

    Returns:
        detectron2 DatasetEvaluator.
    """
    kind = check_evaluator(dataset_name)
    if classifies_regions(cfg):
        return RoIAccuracyEvaluator(dataset_name)
    if classifies_images(cfg):
        return ImageAccuracyEvaluator(dataset_name)
    output_folder = output_folder or _default_folder(cfg, dataset_name)
    if kind == "coco":
        sigmas = cfg.TEST.KEYPOINT_OKS_SIGMAS
        return COCOEvaluator(dataset_name, output_folder, sigmas, cfg.MODEL.MASK_ON)
    if kind == "pascal_voc":
        return VOCEvaluator(dataset_name, output_folder)
    if kind == "cityscapes_instance":
        return CityscapesEvaluator(dataset_name)  # it writes to a temporary folder
    return build_sem_seg_evaluator(dataset_name, output_folder)


def _default_folder(cfg, dataset_name):
    folder = os.path.join(cfg.OUTPUT_DIR, "inference")
    if len(cfg.DATASETS.TEST) == 1:
        return folder
    # numbered, because names made of paths may differ only in their beginnings
    number = list(cfg.DATASETS.TEST).index(dataset_name)
    end_of_name = re.sub(r"[^\w.-]+", "_", dataset_name)[-80:]
    return os.path.join(folder, f"{number}_{end_of_name}")


def check_evaluators(cfg):
    """Raise before training, not after it, if DATASETS.TEST cannot be evaluated."""
    for name in cfg.DATASETS.TEST:
        check_evaluator(name)


def check_evaluator(dataset_name):
    """Return the kind of a data set; raise if no evaluator takes it or its labels."""
    meta = MetadataCatalog.get(dataset_name)
    kind = meta.get("evaluator_type")
    if kind is None:
        raise ValueError(
            f"DATASETS.TEST: {dataset_name!r} has no evaluator, because it has no labels or was "
            "registered without an evaluator_type in its metadata. Name another data set, or "
            'evaluate nothing: DATASETS.TEST "()".'
        )
    if kind not in _KINDS:
        reason = f"there is no evaluator for it; there are evaluators for {list(_KINDS)}."
        raise ValueError(
            f"DATASETS.TEST: {dataset_name!r} is of kind {kind!r}: "
            f"{_NEED_PACKAGES.get(kind, reason)}"
        )
    if meta.get("label_error"):
        raise ValueError(f"DATASETS.TEST: {dataset_name!r}: {meta.label_error}")
    return kind
