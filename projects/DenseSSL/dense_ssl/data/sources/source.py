"""What an entry of DATASETS names."""

import dataclasses
from collections.abc import Callable


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
    """

    images: Callable
    metadata: dict = dataclasses.field(default_factory=dict)
    labels: Callable = None
    check: Callable = None


def evenly(items, most=None):
    """Return so many items of a list, evenly spaced, the first one among them; None for all."""
    if most is None or len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]
