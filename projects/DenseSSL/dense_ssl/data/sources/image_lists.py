"""The images of a registered data set without its labels, which may be slow to read, or faulty."""

from functools import partial

from detectron2.data import DatasetCatalog, MetadataCatalog

from .coco import list_coco_images
from .voc_source import list_voc_images

# Modules of detectron2 that register data sets with these fields of metadata: our readers list
# their images.
_READERS = {
    "detectron2.data.datasets.coco": (list_coco_images, ("json_file", "image_root")),
    "detectron2.data.datasets.pascal_voc": (list_voc_images, ("dirname", "split")),
}


def image_reader(name):
    """Return the function that lists the images of a data set; None if only its labels name them.

    Args:
        name: of a registered data set: of an entry of DATASETS, of detectron2, or by its
            ``register_coco_instances`` and ``register_pascal_voc``.
    """
    meta = MetadataCatalog.get(name)
    if meta.get("image_dicts"):
        return meta.image_dicts
    module = getattr(DatasetCatalog.data[name], "__module__", "")
    read, fields = _READERS.get(module, (None, ()))
    values = [meta.get(x) for x in fields]
    return partial(read, *values) if read and all(values) else None


def list_images(name):
    """Return the dicts of the images of a data set, without labels where that is possible."""
    return (image_reader(name) or partial(DatasetCatalog.get, name))()
