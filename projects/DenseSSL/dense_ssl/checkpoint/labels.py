"""The names of classes and keypoints in a detector's checkpoint."""

from .formats import read_checkpoint


def labels_in(checkpoint):
    """Return the names in the content of a checkpoint; {} if it has none."""
    return checkpoint.get("dense_ssl", {}).get("labels", {})


def read_labels(path):
    """Return the names of classes and keypoints that a checkpoint keeps.

    Args:
        path: a detector's checkpoint (.pth).

    Returns:
        {field of detectron2's metadata: value}, for ``Metadata().set(**labels)``; {} if the file
        has none, as those of other programs.
    """
    return labels_in(read_checkpoint(path))
