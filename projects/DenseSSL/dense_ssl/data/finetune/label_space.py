"""Fitting a model to its data: as many classes and keypoints as the labels have."""

import logging

from detectron2.data import MetadataCatalog

from ...utils.checks import require_one_of, value_of
from ..sources.check import check_labels
from ..sources.label_maps import IGNORED, check_number_of_classes
from ..sources.source import LABEL_MAPS_AT_START
from .semantic_mapper import is_semantic

logger = logging.getLogger(__name__)

# INPUT.MASK_FORMAT of every config that is loaded and does not state it: fine-tuning then takes
# "bitmask" if a mask of its data is an RLE, else detectron2's default.
AUTO = "auto"

# Where models keep their number of classes, and the metadata with the class names.
_CLASS_KEYS = {
    "GeneralizedRCNN": ("MODEL.ROI_HEADS", "thing_classes"),
    "ImageClassifier": ("MODEL.IMAGE_CLASSIFIER", "image_classes"),
    "PanopticFPN": ("MODEL.ROI_HEADS", "thing_classes"),
    "RoIClassifier": ("MODEL.ROI_HEADS", "thing_classes"),
    "RetinaNet": ("MODEL.RETINANET", "thing_classes"),
    "SemanticSegmentor": ("MODEL.SEM_SEG_HEAD", "stuff_classes"),
    "WindowSegmentor": ("MODEL.SEM_SEG_HEAD", "stuff_classes"),
}
# Keypoints of COCO's persons, for which pycocotools has the sigmas of its similarity.
_COCO_KEYPOINTS = 17


def resolve_labels(cfg, stated=()):
    """Set the numbers of classes and keypoints in ``cfg`` to those of the data, and check them.

    Args:
        cfg: config, its data sets registered.
        stated: config keys given on the command line. They are not changed: if the data have
            another number, that is an error.
    """
    if cfg.MODEL.META_ARCHITECTURE in _CLASS_KEYS:
        node, field = _CLASS_KEYS[cfg.MODEL.META_ARCHITECTURE]
        names = _common_names(cfg, field, "classes")
        if names:
            _set_number(cfg, node, "NUM_CLASSES", len(names), stated)
            _warn_of_classes_without_objects(cfg)
    if is_semantic(cfg):
        _check_semantic(cfg)
    _report_faults(cfg)
    _resolve_masks(cfg)
    if cfg.MODEL.KEYPOINT_ON:
        _resolve_keypoints(cfg, stated)


def number_of_classes(cfg):
    """Return (number of classes of a model, None if it is not known; the metadata of their names).

    Args:
        cfg: config of a detector or segmentor.
    """
    kind = "stuff_classes" if is_semantic(cfg) else "thing_classes"
    node, kind = _CLASS_KEYS.get(cfg.MODEL.META_ARCHITECTURE, (None, kind))
    return value_of(cfg, node).NUM_CLASSES if node else None, kind


def _check_semantic(cfg):
    """Raise if data sets have no label maps, or the ignored label is a class."""
    for part in ("TRAIN", "TEST"):
        for name in cfg.DATASETS[part]:
            if not MetadataCatalog.get(name).get("stuff_classes"):
                raise ValueError(
                    f"DATASETS.{part}: {name!r} has no label maps, which "
                    f"{cfg.MODEL.META_ARCHITECTURE} needs. Name them as "
                    "'semseg:IMAGES:LABELS[:CLASSES.txt]' or 'vocseg:ROOT:SPLIT'."
                )
            check_number_of_classes(
                len(MetadataCatalog.get(name).stuff_classes), f"DATASETS.{part}: {name!r}"
            )
    node = cfg.MODEL.SEM_SEG_HEAD
    if 0 <= node.IGNORE_VALUE < node.NUM_CLASSES:
        raise ValueError(
            f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE is {node.IGNORE_VALUE}, which is one of the "
            f"{node.NUM_CLASSES} classes. Leave it at {IGNORED}: pixels that a data set ignores "
            "get this label."
        )


def _resolve_keypoints(cfg, stated):
    names = _common_names(cfg, "keypoint_names", "keypoints")
    if not names:
        raise ValueError(
            f"MODEL.KEYPOINT_ON is True, but {' and '.join(map(repr, cfg.DATASETS.TRAIN))} of "
            "DATASETS.TRAIN has no keypoints. Name a data set that has them (its json lists their "
            "names in each category with objects, the same ones), or set MODEL.KEYPOINT_ON False."
        )
    _set_number(cfg, "MODEL.ROI_KEYPOINT_HEAD", "NUM_KEYPOINTS", len(names), stated)
    pairs = [MetadataCatalog.get(x).get("keypoint_flip_map") for x in cfg.DATASETS.TRAIN]
    if len(names) > 1 and not any(pairs) and cfg.INPUT.RANDOM_FLIP != "none":
        logger.warning(
            "No keypoint of DATASETS.TRAIN is known to be the mirror of another one (%s), so a "
            "flipped image keeps its labels: left ones would be taught as right ones. Name pairs "
            "left_x and right_x or x_l and x_r in the json, or set INPUT.RANDOM_FLIP 'none'.",
            ", ".join(names),
        )
    sigmas = len(cfg.TEST.KEYPOINT_OKS_SIGMAS) or _COCO_KEYPOINTS
    if cfg.DATASETS.TEST and sigmas != len(names):
        raise ValueError(
            f"TEST.KEYPOINT_OKS_SIGMAS must hold {len(names)} numbers, one for each keypoint of "
            f"{cfg.DATASETS.TEST[0]!r} (empty: COCO's own for its {_COCO_KEYPOINTS} of persons): "
            "how far annotators differ, as a share of the object's size; COCO's lie between 0.025 "
            "and 0.107."
        )


def _set_number(cfg, node, name, value, stated):
    key, before = f"{node}.{name}", value_of(cfg, node)[name]
    if before == value:
        return
    if key in stated:
        raise ValueError(
            f"{key} is {before}, but the data have {value}. Leave the key out, and it follows the "
            "data; or name other data in DATASETS.TRAIN and DATASETS.TEST."
        )
    logger.info("%s: %d instead of %d, to fit the data", key, value, before)
    value_of(cfg, node)[name] = value


def _report_faults(cfg):
    """Raise, or warn, of what is wrong with labels, before the training that would meet it."""
    for key in ("TRAIN", "TEST"):
        for name in cfg.DATASETS[key]:
            check = check_labels(name, LABEL_MAPS_AT_START)
            if check is None:
                continue
            error, notes = check.error, list(check.notes)
            if cfg.MODEL.MASK_ON:
                error, notes = error or _mask_error(check), notes + check.mask_notes
            if cfg.MODEL.KEYPOINT_ON:
                error, notes = error or check.keypoint_error, notes + check.keypoint_notes
            if error:
                raise ValueError(f"DATASETS.{key}: {name!r}: {error}")
            for note in notes:
                logger.warning("DATASETS.%s: %s: %s.", key, name, note)


def _mask_error(check):
    if check.counts.get("without mask") and not {"polygons", "RLEs"} & set(check.counts):
        return check.mask_error or (
            "no object has a mask, and MODEL.MASK_ON is True. Name data with masks, or set it to "
            "False."
        )
    return check.mask_error


def _resolve_masks(cfg):
    """Choose INPUT.MASK_FORMAT by the masks of the data, or check it; and that there are masks."""
    of_rles = []
    for name in cfg.DATASETS.TRAIN if cfg.MODEL.MASK_ON else ():
        check = check_labels(name, LABEL_MAPS_AT_START)
        if MetadataCatalog.get(name).get("evaluator_type") == "pascal_voc":
            raise ValueError(
                f"DATASETS.TRAIN: {name!r} has no masks, and MODEL.MASK_ON is True. Name a COCO "
                "json with masks, or set MODEL.MASK_ON False."
            )
        if check and check.counts.get("RLEs"):
            of_rles.append((check.counts["RLEs"], name))
    if cfg.INPUT.MASK_FORMAT == AUTO:
        cfg.INPUT.MASK_FORMAT = "bitmask" if of_rles else "polygon"
        if of_rles:
            logger.info("INPUT.MASK_FORMAT: bitmask, as %d masks of %s are RLEs", *of_rles[0])
    elif cfg.INPUT.MASK_FORMAT == "polygon" and of_rles:
        raise ValueError(
            "INPUT.MASK_FORMAT is 'polygon', but {} masks of {!r} of DATASETS.TRAIN are RLEs. Set "
            "it to 'bitmask', or leave the key out, and it follows the data.".format(*of_rles[0])
        )
    require_one_of("INPUT.MASK_FORMAT", cfg.INPUT.MASK_FORMAT, ("polygon", "bitmask"))


def _warn_of_classes_without_objects(cfg):
    """Warn of classes that no COCO json of DATASETS.TRAIN has an object of.

    Roboflow's exports have one: the name of the project, as the first category.
    """
    metadata = [MetadataCatalog.get(x) for x in cfg.DATASETS.TRAIN]
    absent = [x.get("classes_without_objects", ()) for x in metadata]
    names = [x for x in absent[0] if all(x in y for y in absent)] if absent else []
    if names:
        logger.warning(
            "DATASETS.TRAIN has no object of: %s. A detector does not learn a class without "
            "objects. To leave it out, delete it from the categories of every json.",
            ", ".join(names),
        )


def _common_names(cfg, field, kind):
    """Return the names that all data sets share; raise if they differ.

    Data sets without names (absent files, or a kind of their own) are skipped.
    """
    first, known = None, None
    for part in ("TRAIN", "TEST"):
        for name in cfg.DATASETS[part]:
            meta = MetadataCatalog.get(name)
            if part == "TRAIN" and not meta.get("has_labels", True):
                raise ValueError(
                    f"DATASETS.TRAIN: {name!r} has no labels: it can be pre-trained on, but no "
                    f"{cfg.MODEL.META_ARCHITECTURE} can learn from it. Name a labelled data set."
                )
            if (field == "image_classes") != bool(meta.get("image_classes")):
                raise ValueError(
                    f"DATASETS.{part}: {name!r} does not have the labels that "
                    f"{cfg.MODEL.META_ARCHITECTURE} needs. ImageClassifier, and no other, reads "
                    "'classes:FOLDER', with one folder of images for each class."
                )
            names = list(meta.get(field) or ())
            if not names:
                continue
            if known is None:
                first, known = f"{name!r} of DATASETS.{part}", names
            elif names != known:
                raise ValueError(
                    f"{name!r} of DATASETS.{part} has other {kind} than {first}: "
                    f"{_difference(names, known)}. Predictions are numbered in the order of the "
                    f"{kind}: give all data sets the same ones (VOC folders: the same classes.txt "
                    "in each)."
                )
    return known


def _difference(names, known):
    if len(names) != len(known):
        return f"{len(names)} against {len(known)}"
    place = next(i for i, (a, b) in enumerate(zip(names, known)) if a != b)
    return f"number {place} is {names[place]!r} against {known[place]!r}"
