"""Adding data sets to detectron2's catalogs."""

import functools

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...utils.errors import prefix_errors


def register(name, load, metadata, where=None):
    """Register a data set whose errors, when it is loaded, say where it comes from.

    Args:
        name: of the data set.
        load: function that returns its dicts; called when they are needed.
        metadata: dict.
        where: config key and entry to put in front of errors; default: the name.
    """
    MetadataCatalog.get(name).set(**metadata)
    DatasetCatalog.register(name, functools.partial(_load, load, where or repr(name)))


def _load(load, where):
    with prefix_errors(where):
        return load()
