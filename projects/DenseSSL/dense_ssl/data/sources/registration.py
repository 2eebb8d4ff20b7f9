"""Data sets in detectron2's catalogs whose images can be listed without their labels."""

import os

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...utils.errors import prefix_errors
from .coco import coco_source

# Where detectron2's register_coco_instances is.
_COCO_READER = "detectron2.data.datasets.coco"
_replaced = {}  # {name: (function, metadata)} of detectron2's readers


class EntryReader:
    """The function that detectron2 calls for the dicts of a data set, with their labels."""

    def __init__(self, name, source, where):
        """
        Args:
            name: of the data set.
            source: :class:`~.source.Source`.
            where: errors when it is read start with it.
        """
        self._name, self._source, self._where = name, source, where
        self._load = None if source.labels else source.images

    def read_labels(self):
        """Complete the metadata, once; what is there already stays."""
        if self._load is None:
            with prefix_errors(self._where):
                load, metadata = self._source.labels()
            meta = MetadataCatalog.get(self._name)
            given = meta.as_dict()
            meta.set(**{k: x for k, x in metadata.items() if k not in given})
            self._load = load

    def read_images(self):
        """Return the dicts without labels."""
        with prefix_errors(self._where):
            return self._source.images()

    def __call__(self):
        self.read_labels()
        with prefix_errors(self._where):
            return list(self._load())  # as detectron2's own


def register(name, source, where, metadata=None):
    """Register a data set.

    Args:
        name, source, where: see :class:`EntryReader`.
        metadata: that is kept where labels have others.
    """
    reader = EntryReader(name, source, where)
    more = {"check_labels": source.check, "sample_images": source.sample}
    more = {k: x for k, x in more.items() if x}
    values = {**source.metadata, **more, **(metadata or {}), "image_dicts": reader.read_images}
    MetadataCatalog.get(name).set(**values)
    DatasetCatalog.register(name, reader)


def read_as_entry(name, where):
    """Read a COCO json registered by ``register_coco_instances`` as ``coco:...`` is read.

    detectron2 knows its classes only once it is loaded, and gives pycocotools the file as it is.
    """
    meta, reader = MetadataCatalog.get(name), DatasetCatalog.data[name]
    json_file, image_root = meta.get("json_file", ""), meta.get("image_root", "")
    is_its = getattr(reader, "__module__", "") == _COCO_READER
    if not is_its or not image_root or not os.path.isfile(json_file):
        return
    with prefix_errors(where):
        source = coco_source(name, json_file, image_root)
    given = {k: x for k, x in meta.as_dict().items() if k != "name"}
    _remove(name)
    _replaced[name] = reader, given
    register(name, source, where, {k: x for k, x in given.items() if k != "json_file"})


def forget():
    """Unregister every data set of :func:`register`; those that detectron2 read get its reader."""
    for name, reader in list(DatasetCatalog.data.items()):
        if isinstance(reader, EntryReader):
            _remove(name)
            if name in _replaced:
                reader, metadata = _replaced.pop(name)
                DatasetCatalog.register(name, reader)
                MetadataCatalog.get(name).set(**metadata)


def _remove(name):
    DatasetCatalog.remove(name)
    MetadataCatalog.pop(name, None)
