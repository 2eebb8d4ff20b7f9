"""Which objects of VOC folders are marked difficult: detectron2's dicts do not say it."""

from detectron2.data import DatasetCatalog, MetadataCatalog

from .subsets import parse_subset
from .voc import annotation_file, read_objects


def voc_root(name):
    """Return the folder of a registered data set in VOC's layout, or of a share of one; else ""."""
    meta = MetadataCatalog.get(name)
    if meta.get("evaluator_type") == "pascal_voc":
        return meta.dirname
    base = parse_subset(name)
    return voc_root(base[0]) if base and base[0] in DatasetCatalog else ""


def marked_dicts(name):
    """Return the dicts of a registered data set, difficult objects of VOC with ``difficult: 1``."""
    dicts, root = DatasetCatalog.get(name), voc_root(name)
    if not root:
        return dicts
    return [_marked(item, annotation_file(root, item["image_id"])) for item in dicts]


def _marked(item, path):
    objects = read_objects(path)[1]
    annotations = [{**x, "difficult": 1} if y["difficult"] else x
                   for x, y in zip(item["annotations"], objects)]  # fmt: skip
    return {**item, "annotations": annotations}
