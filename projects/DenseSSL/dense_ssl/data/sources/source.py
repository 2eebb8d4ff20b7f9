"""What an entry of DATASETS names."""

import dataclasses
from collections.abc import Callable

# At the start of a run so many images and label maps are looked at; tools/check_data.py takes all.
IMAGES_AT_START, LABEL_MAPS_AT_START = 1000, 500


@dataclasses.dataclass
class Source:
    """A data set whose labels have not been read yet: pre-training does not need them.

    Attributes:
        images: function that lists the images, dicts with ``file_name`` and ``image_id``.
        metadata: detectron2's metadata, as far as they are known without the labels.
        labels: function that returns (function that reads the dicts with labels, more metadata);
            None: ``images`` and ``metadata`` are all there is.
        check: function of a number, or None, that returns the
            :class:`~.label_check.LabelCheck` of the labels; of label maps, so many of them are
            read, None for all.
        sample: function that returns (dicts of IMAGES_AT_START images, how many there are) from the
            check of the labels, without another look at them; ([], 0) if it has none.
    """

    images: Callable
    metadata: dict = dataclasses.field(default_factory=dict)
    labels: Callable = None
    check: Callable = None
    sample: Callable = None


def evenly(items, most=None):
    """Return so many items of a list, evenly spaced, the first one among them; None for all."""
    if most is None or len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]
