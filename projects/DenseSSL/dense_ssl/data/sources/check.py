"""The check of a data set: its images and its labels.

There is one, for tools/check_data.py, the start of a run and its report.
"""

import dataclasses
import os

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...utils.printable import printable
from .coco import checked_coco
from .folder import skipped_files
from .image_check import ImageCheck, check_images
from .image_lists import list_images
from .label_check import LabelCheck
from .source import IMAGES_AT_START

_UNPAIRED = (
    "no keypoint is known to be the mirror of another one ({}): a flipped image keeps its labels. "
    "Name pairs left_x and right_x or x_l and x_r, or train with INPUT.RANDOM_FLIP 'none'"
)


@dataclasses.dataclass
class DataCheck:
    """The check of an entry of DATASETS.

    Attributes:
        entry: its text.
        images: :class:`~.image_check.ImageCheck`; None if they cannot be listed.
        labels: :class:`~.label_check.LabelCheck`; None without labels, or if they are not read.
        skipped: {extension: number of files that are no images}, of folders.
        unpaired: names of its keypoints, where none is known to be the mirror of another one.
        error: why the entry cannot be used at all, or "".
        max_broken_share: of images without labels.
    """

    entry: str
    images: ImageCheck = None
    labels: LabelCheck = None
    skipped: dict = dataclasses.field(default_factory=dict)
    unpaired: list = dataclasses.field(default_factory=list)
    error: str = ""
    max_broken_share: float = 0.02

    @property
    def errors(self):
        """What stops training, sentences: of a detector where there are labels."""
        found = [self.error] if self.error else []
        if self.labels:
            labels = self.labels
            found += [x for x in (labels.error, labels.mask_error, labels.keypoint_error) if x]
        if self.images and (
            self.labels or self.images.broken > self.max_broken_share * self.images.checked
        ):
            found += self.images.errors
        return found

    @property
    def notes(self):
        """What is odd and stops nothing, sentences."""
        images, labels = self.images, self.labels
        return [
            *(images.notes if images else ()),
            *(x for x in (images.errors if images else ()) if x not in self.errors),
            *([*labels.notes, *labels.mask_notes, *labels.keypoint_notes] if labels else ()),
            *(
                [_UNPAIRED.format(", ".join(map(printable, self.unpaired)))]
                if self.unpaired
                else ()
            ),
        ]

    def as_dict(self):
        """Return all of it as plain values."""
        kept = [x.name for x in dataclasses.fields(LabelCheck)]  # not what a kind adds to them
        return {
            "entry": self.entry,
            "images": self.images and dataclasses.asdict(self.images),
            "labels": self.labels and {k: getattr(self.labels, k) for k in kept},
            "skipped": self.skipped,
            "error": self.error,
            "errors": self.errors,
            "notes": self.notes,
        }


def check_labels(name, label_maps=None):
    """Check the labels of a registered data set; a result of before is kept where nothing changed.

    Args:
        name: of the data set, its labels read (:func:`~.entries.resolve_dataset`).
        label_maps: so many label maps are read; None: all.

    Returns:
        :class:`~.label_check.LabelCheck`; None for a data set without labels, or one that is
        registered by other code and no COCO json.
    """
    meta = MetadataCatalog.get(name)
    if meta.get("check_labels"):
        return meta.check_labels(label_maps)
    if meta.get("evaluator_type") == "coco" and os.path.isfile(meta.get("json_file", "")):
        return checked_coco(meta.json_file)
    return None


def check_registered(name, labels=True, most_images=None, most_maps=None, decode=False, dicts=None):
    """Check a registered data set.

    Args:
        name: of the data set, its labels read if ``labels``.
        labels: check these too.
        most_images, most_maps: so many images and label maps; None: all.
        decode: read all pixels of the images.
        dicts: of its images, where they are known.

    Returns:
        :class:`DataCheck`.
    """
    check, meta = DataCheck(name), MetadataCatalog.get(name)
    if labels:
        found = check_labels(name, most_maps)
        check.labels = found if found and (found.counts or found.error) else None
        names = meta.get("keypoint_names") or ()
        if len(names) > 1 and not meta.get("keypoint_flip_map"):
            check.unpaired = list(names)
    total = None
    if check.labels and most_images == IMAGES_AT_START and meta.get("sample_images"):
        dicts, total = meta.sample_images()
    try:
        dicts = dicts or _images(name, meta, check.labels)
    except (OSError, ValueError) as error:
        check.error = str(error)
        return check
    check.images = check_images(dicts, most_images, decode, total)
    if meta.get("image_folder"):
        check.skipped = skipped_files(meta.image_folder)
    return check


def _images(name, meta, labels):
    """Return the dicts of the images, with their sizes where the labels state them."""
    of_voc = meta.get("evaluator_type") == "pascal_voc" and labels and not labels.error
    return DatasetCatalog.get(name) if of_voc else list_images(name)
