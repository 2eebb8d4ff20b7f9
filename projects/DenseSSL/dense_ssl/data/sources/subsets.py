"""Few labels: seeded shares of a labelled data set, the same for everyone.

``coco_2017_train_1pct_seed0`` is one percent of the images of ``coco_2017_train``. An image belongs
to a share by the SHA-256 of ``"SEED:IMAGE_ID"``: those with the smallest hashes are taken. So the
list does not depend on any library, and a larger share holds every smaller one of its seed.
``tools/label_subset.py`` prints the list.
"""

import hashlib
import re

from detectron2.data import DatasetCatalog, MetadataCatalog

from .check import check_labels
from .image_lists import list_images
from .source import Source

_NAME = re.compile(r"(?P<base>.+)_(?P<percent>\d+(?:\.\d+)?)pct_seed(?P<seed>\d+)")
# What reads all images of the base, such as an evaluator: not copied to a share.
_OF_THE_WHOLE = ("name", "evaluator_type", "json_file", "dirname", "split", "image_dicts",
                 "check_labels", "sample_images")  # fmt: skip


def parse_subset(entry):
    """Return (base, percent, seed) of an entry such as ``coco_2017_train_1pct_seed0``, or None."""
    match = _NAME.fullmatch(entry)
    return match and (match["base"], float(match["percent"]), int(match["seed"]))


def subset_ids(image_ids, percent, seed):
    """Choose the image ids of a share.

    Args:
        image_ids: of all images; each once.
        percent: share in percent, in (0, 100]; at least one image is taken.
        seed: int.

    Returns:
        set of ids.
    """
    count = max(int(len(image_ids) * percent / 100 + 0.5), 1)

    def rank(image_id):
        return hashlib.sha256(f"{seed}:{image_id}".encode()).digest(), str(image_id)

    return set(sorted(image_ids, key=rank)[:count])


def subset_source(base, percent, seed, name, read_labels):
    """Open a share of a registered data set.

    Args:
        base, percent, seed: result of :func:`parse_subset`.
        name: of the share.
        read_labels: function that completes the metadata of ``base``.

    Returns:
        :class:`~.source.Source`. The labels that are checked are those of the whole data set.
    """
    if not 0 < percent <= 100:
        raise ValueError(f"{percent:g} % of the images: give more than 0, at most 100.")

    def share(dicts):
        chosen = subset_ids([x["image_id"] for x in dicts], percent, seed)
        return [x for x in dicts if x["image_id"] in chosen]

    def read():
        dicts = DatasetCatalog.get(base)
        MetadataCatalog.get(name).set(**_metadata(base))  # some is known only now
        return share(dicts)

    def labels():
        read_labels()
        return read, _metadata(base)

    return Source(
        images=lambda: share(list_images(base)),
        labels=labels,
        check=lambda most=None: check_labels(base, most),
    )


def _metadata(base):
    values = MetadataCatalog.get(base).as_dict()
    return {k: x for k, x in values.items() if k not in _OF_THE_WHOLE}
