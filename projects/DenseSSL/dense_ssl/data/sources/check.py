"""The check of a data set: its images and its labels."""

import os

from detectron2.data import MetadataCatalog

from .coco import checked_coco

# At the start of a run so many label maps are read; tools/check_data.py reads all.
LABEL_MAPS_AT_START = 500


def check_labels(name, label_maps=None):
    """Check the labels of a registered data set; a result of before is kept where nothing changed.

    Args:
        name: of the data set, its labels read (:func:`~.entries.resolve_dataset`).
        label_maps: so many label maps are read; None: all.

    Returns:
        :class:`~.label_check.LabelCheck`; None for a data set without labels, or one that is
        registered by other code and no COCO json.
    """
    meta = MetadataCatalog.get(name)
    if meta.get("check_labels"):
        return meta.check_labels(label_maps)
    if meta.get("evaluator_type") == "coco" and os.path.isfile(meta.get("json_file", "")):
        return checked_coco(meta.json_file)
    return None
