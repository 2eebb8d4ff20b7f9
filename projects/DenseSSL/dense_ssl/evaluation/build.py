"""The evaluator of each kind of data set."""

import os
import re

from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator

from .cityscapes import CityscapesEvaluator
from .sem_seg import build_sem_seg_evaluator
from .voc import VOCEvaluator


def build_evaluator(cfg, dataset_name, output_folder=None):
    """The evaluator of a data set, chosen by the ``evaluator_type`` of its metadata.

    Args:
        cfg: config.
        dataset_name: one of DATASETS.TEST.
        output_folder: for predictions; default: ``inference`` in OUTPUT_DIR, with a folder for each
            where DATASETS.TEST names several data sets.

    Returns:
        detectron2 DatasetEvaluator.
    """
    check_evaluator(dataset_name)
    if output_folder is None:
        output_folder = os.path.join(cfg.OUTPUT_DIR, "inference")
        if len(cfg.DATASETS.TEST) > 1:
            # numbered, as names made of paths may differ in their beginnings only
            number = list(cfg.DATASETS.TEST).index(dataset_name)
            end_of_name = re.sub(r"[^\w.-]+", "_", dataset_name)[-80:]
            output_folder = os.path.join(output_folder, f"{number}_{end_of_name}")
    return _BUILDERS[MetadataCatalog.get(dataset_name).evaluator_type](
        cfg, dataset_name, output_folder
    )


def check_evaluators(cfg):
    """Raise, before training rather than after it, where DATASETS.TEST cannot be evaluated."""
    for name in cfg.DATASETS.TEST:
        check_evaluator(name)


def check_evaluator(dataset_name):
    """Raise where there is no evaluator for a data set, or its labels lack what it needs."""
    meta = MetadataCatalog.get(dataset_name)
    kind = meta.get("evaluator_type")
    if kind is None:
        raise ValueError(
            f"DATASETS.TEST: {dataset_name!r} has no evaluator, because it has no labels or was "
            "registered without an evaluator_type in its metadata. Name another data set, or "
            'evaluate nothing: DATASETS.TEST "()".'
        )
    if kind in _NEED_PACKAGES:
        raise ValueError(
            f"DATASETS.TEST: {dataset_name!r} is of kind {kind!r}: {_NEED_PACKAGES[kind]}"
        )
    if kind not in _BUILDERS:
        raise ValueError(
            f"DATASETS.TEST: {dataset_name!r} is of kind {kind!r}, for which there is no "
            f"evaluator; there are evaluators for {sorted(_BUILDERS)}."
        )
    if meta.get("missing_fields"):
        raise ValueError(
            f"DATASETS.TEST: AP cannot be computed on {meta.json_file!r}, because some of its "
            f"annotations have no {', '.join(meta.missing_fields)}. Add them (area: width x height "
            "of the box where there is no mask; iscrowd: 0)."
        )


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


def _build_coco(cfg, dataset_name, output_folder):
    return COCOEvaluator(
        dataset_name, output_dir=output_folder, kpt_oks_sigmas=cfg.TEST.KEYPOINT_OKS_SIGMAS
    )


def _build_voc(cfg, dataset_name, output_folder):
    del cfg
    return VOCEvaluator(dataset_name, output_folder)


def _build_cityscapes(cfg, dataset_name, output_folder):
    del cfg, output_folder  # it writes to a temporary folder
    return CityscapesEvaluator(dataset_name)


def _build_sem_seg(cfg, dataset_name, output_folder):
    del cfg
    return build_sem_seg_evaluator(dataset_name, output_folder)


_BUILDERS = {
    "coco": _build_coco,
    "pascal_voc": _build_voc,
    "cityscapes_instance": _build_cityscapes,
    "sem_seg": _build_sem_seg,
}
