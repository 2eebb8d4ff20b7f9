"""The names of classes and keypoints, which travel with a detector's checkpoint."""

from detectron2.data import MetadataCatalog

# Metadata of detectron2 that predictions are read, written and drawn with.
_CLASSES = {
    "thing_classes": ("thing_dataset_id_to_contiguous_id", "thing_colors"),
    "stuff_classes": ("stuff_dataset_id_to_contiguous_id", "stuff_colors"),
    "image_classes": (),
    "keypoint_names": ("keypoint_flip_map", "keypoint_connection_rules"),
}


def training_labels(cfg):
    """Return the names of what a detector learns from DATASETS.TRAIN.

    All data sets have the same classes (:func:`~.label_space.resolve_labels`): each kind of names
    is taken from the first one that has it, with that data set's own ids.

    Args:
        cfg: config, its data sets registered and loaded (detectron2 reads some names only then).

    Returns:
        {field of detectron2's metadata: plain values}; empty where the data have no names.
    """
    labels = {}
    for names, others in _CLASSES.items():
        known = (MetadataCatalog.get(x) for x in cfg.DATASETS.TRAIN)
        meta = next((x for x in known if x.get(names)), None)
        for field in (names, *others) if meta else ():
            if meta.get(field):
                labels[field] = _plain(meta.get(field))
    return labels


def _plain(value):
    """Return a value as what a weights file may hold without running code: lists for tuples."""
    if isinstance(value, dict):
        return {_plain(k): _plain(x) for k, x in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(x) for x in value]
    return value.item() if hasattr(value, "item") else value  # numbers of numpy
