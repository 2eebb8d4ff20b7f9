"""Label maps: images that hold one class number per pixel."""

import contextlib
import os

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.utils.file_io import PathManager
from PIL import Image, UnidentifiedImageError

from ...utils.text_files import read_text
from ..image_io import BrokenImageError

# Pixels without a label, here and (by default) in files.
IGNORED = 255
# The entry in the table of a data set for values without a class; class numbers are smaller.
_UNKNOWN = 254
MAX_CLASSES = _UNKNOWN
_NUM_VALUES = 2**16  # files have 8 or 16 bits per pixel
_ONE_CHANNEL = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")


def label_map_metadata(classes, values=None, ignored=()):
    """Return the metadata of label maps that training and evaluation read.

    Args:
        classes: names.
        values: of the classes in files; None: 0, 1, 2, ...
        ignored: values whose pixels have no label, beside 255 (unless that is a class); None: all
            except those of classes.
    """
    values = list(range(len(classes)) if values is None else values)
    if ignored is not None:
        ignored = [*ignored, *({IGNORED} - set(values) - set(ignored))]
    return {
        "stuff_classes": list(classes),
        "label_values": values,
        "ignored_values": ignored,
        "ignore_label": IGNORED,  # of label maps as they are read, not as they are in files
        "stuff_dataset_id_to_contiguous_id": {x: i for i, x in enumerate(values)},
        "evaluator_type": "sem_seg",
    }


def check_number_of_classes(number, what):
    """Raise if something has more classes than label maps are read with."""
    if number > MAX_CLASSES:
        raise ValueError(
            f"{what} has {number} classes, at most {MAX_CLASSES} are possible: label maps are "
            "kept in 8 bits, and two values have meanings of their own. Join classes, or mark "
            "those that are not needed '(ignore)' in the file of the classes."
        )


class LabelReader:
    """Reads the label maps of one data set as contiguous class numbers.

    It follows the metadata of the data set: ``stuff_classes``, the names; ``label_values``, the
    value in files of each class (default: 0, 1, 2, ...); ``ignored_values``, those without a label,
    or None for all except those of classes (default: ``ignore_label``, 255).
    """

    def __init__(self, dataset_name, ignore_value=IGNORED):
        """
        Args:
            dataset_name: of a registered data set with ``stuff_classes``.
            ignore_value: what pixels without a label become.
        """
        meta = MetadataCatalog.get(dataset_name)
        self.dataset_name = dataset_name
        self.ignore_value = ignore_value
        self.num_classes = len(meta.stuff_classes)
        check_number_of_classes(self.num_classes, repr(dataset_name))
        values = meta.get("label_values", range(self.num_classes))
        ignored = meta.get("ignored_values", (meta.get("ignore_label", IGNORED),))
        self._table = np.full(_NUM_VALUES, IGNORED if ignored is None else _UNKNOWN, np.uint8)
        self._table[list(values)] = np.arange(self.num_classes)
        self._table[[x for x in ignored or () if x >= 0]] = IGNORED

    def __call__(self, path, copy=False, dtype=np.uint8):
        """Read one label map; the arguments are those of detectron2's ``sem_seg_loading_fn``.

        Args:
            path: of the label map.
            copy: of no effect; the result is always the caller's own.
            dtype: of the result; it must hold ``ignore_value``.

        Returns:
            (H, W) array of class numbers; ``ignore_value`` for pixels without a label.
        """
        del copy
        values = read_label_map(path)
        labels = self._table[values]
        unknown = np.unique(values[labels == _UNKNOWN])
        if len(unknown):
            shown = ", ".join(map(str, unknown[:8])) + (", ..." if len(unknown) > 8 else "")
            raise ValueError(
                f"the label map {path!r} has the values {shown}, which are not a class of "
                f"{self.dataset_name!r} ({self.num_classes} classes). Fix the file, or name the "
                "values in the file of the classes, as the third part of 'semseg:IMAGES:LABELS:"
                "CLASSES.txt'; a line '7 border (ignore)' leaves pixels of value 7 out."
            )
        labels = labels.astype(dtype, copy=False)
        labels[labels == IGNORED] = self.ignore_value
        return labels


def read_label_map(path):
    """Read the values of a label map: those in the file, for a palette image its indices.

    Args:
        path: PNG (or other lossless) file with one channel.

    Returns:
        (H, W) array, uint8 or uint16.
    """
    with _opened(path) as image:
        if image.mode not in _ONE_CHANNEL:
            raise ValueError(
                f"the label map {path!r} has colours (mode {image.mode}), but a label map holds "
                "one number per pixel: an 8-bit grey or palette PNG. Convert the colours to "
                "numbers."
            )
        values = np.asarray(image)
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.dtype == np.uint8:
        return values
    if values.min() < 0 or values.max() >= _NUM_VALUES:
        raise ValueError(
            f"the label map {path!r} has values from {values.min()} to {values.max()}; they must "
            f"be between 0 and {_NUM_VALUES - 1}."
        )
    return values.astype(np.uint16)


def check_label_size(path, image_file, height, width):
    """Raise if a label map and its image differ in size; only the header of the map is read."""
    with _opened(path) as image:
        size = image.size
    if size != (width, height):
        raise ValueError(
            f"the label map {path!r} has {size[0]} x {size[1]} pixels, its image {image_file!r} "
            f"has {width} x {height} (its EXIF orientation applied). Give the label map the size "
            "of the image."
        )


@contextlib.contextmanager
def _opened(path):
    """Yield a PIL image, not decoded yet; errors name the file."""
    try:
        with PathManager.open(str(path), "rb") as file, Image.open(file) as image:
            yield image
    except UnidentifiedImageError as error:
        raise BrokenImageError(f"the label map {path!r} is not a known image") from error
    except (OSError, SyntaxError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BrokenImageError(f"the label map {path!r} cannot be read: {reason}") from error


def read_classes_file(path):
    """Read the classes of label maps from a text file.

    One class per line, with or without its value in front: ``3 road``, or ``road`` in the fourth
    line. A line that ends in ``(ignore)`` names a value whose pixels have no label.

    Returns:
        (names, values of the classes in files, values that are ignored), lists.
    """
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"the file of class names {path!r} does not exist.")
    lines = read_text(path).splitlines()
    lines = [line.split() for line in lines if line.strip() and line[0] != "#"]
    if all(len(x) > 1 and x[0].isdecimal() for x in lines):
        entries = [(int(x[0]), x[1:]) for x in lines]
    else:
        entries = list(enumerate(lines))
    ignored = [value for value, words in entries if words[-1] == "(ignore)"]
    classes = {value: " ".join(words) for value, words in entries if words[-1] != "(ignore)"}
    values = [value for value, _ in entries]
    if len(set(values)) < len(values) or len(set(classes.values())) < len(classes) or not classes:
        raise ValueError(
            f"{path!r} must name each class and each value once, one per line; it has "
            f"{[' '.join(x) for x in lines]}."
        )
    check_number_of_classes(len(classes), repr(path))
    if max(values) >= _NUM_VALUES:
        raise ValueError(f"{path!r} has the value {max(values)}, above {_NUM_VALUES - 1}.")
    return list(classes.values()), list(classes), ignored
