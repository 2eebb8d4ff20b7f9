"""Which objects of VOC folders are marked difficult: detectron2's dicts do not say it."""

from detectron2.data import DatasetCatalog, MetadataCatalog

from .voc import annotation_file, read_objects


def is_voc(name):
    """Return True if a registered data set is a VOC folder."""
    return MetadataCatalog.get(name).get("evaluator_type") == "pascal_voc"


def marked_dicts(name):
    """Return the dicts of a registered data set, difficult objects of VOC with ``difficult: 1``."""
    dicts = DatasetCatalog.get(name)
    if not is_voc(name):
        return dicts
    root = MetadataCatalog.get(name).dirname
    return [_marked(item, annotation_file(root, item["image_id"])) for item in dicts]


def _marked(item, path):
    objects = read_objects(path)[1]
    annotations = [{**x, "difficult": 1} if y["difficult"] else x
                   for x, y in zip(item["annotations"], objects)]  # fmt: skip
    return {**item, "annotations": annotations}
