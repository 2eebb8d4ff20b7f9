"""Average precision of PASCAL VOC, also for annotations that are not PASCAL's."""

import copy
import logging
import os
import xml.etree.ElementTree as ElementTree
from collections import Counter

from detectron2.data import MetadataCatalog
from detectron2.evaluation import PascalVOCDetectionEvaluator
from detectron2.utils import comm

from ..data.sources.voc import BOX_TAGS, read_objects, read_split

logger = logging.getLogger(__name__)

# Tags that detectron2 reads of each object, and their values if a file does not have them.
_DEFAULTS = {"pose": "Unspecified", "truncated": "0", "difficult": "0"}


class VOCEvaluator(PascalVOCDetectionEvaluator):
    """detectron2's VOC evaluator; on PASCAL's own data its results are the same.

    In addition, annotation files may lack pose, truncated and difficult and may have fractions in
    their boxes. Classes without an object in the split are left out of the mean; detectron2 counts
    them as 0, or as NaN if one was predicted.
    """

    def __init__(self, dataset_name, output_folder):
        """
        Args:
            dataset_name: of a data set with VOC metadata.
            output_folder: for completed copies of annotation files, if they are needed.
        """
        super().__init__(dataset_name)
        meta = MetadataCatalog.get(dataset_name)
        self._root, self._split = meta.dirname, meta.split
        self._output_folder = output_folder

    def evaluate(self):
        """Compute the AP from the predictions of all processes.

        Returns:
            {"bbox": {"AP", "AP50", "AP75"}} in the main process, else None.
        """
        ids = read_split(self._root, self._split)
        files = {x: read_objects(self._anno_file_template.format(x)) for x in ids}
        # a copy, so that the class numbers in this evaluator's predictions stay
        scorer = copy.copy(self)
        scorer._restrict_to_classes(objects for _, objects in files.values())
        if comm.is_main_process():
            scorer._prepare_files({x: tree for x, (tree, _) in files.items()})
        return PascalVOCDetectionEvaluator.evaluate(scorer)

    def _restrict_to_classes(self, objects):
        """Leave out the classes without an object in the split, not counting difficult ones."""
        counts = Counter(x["name"] for image in objects for x in image if not x["difficult"])
        present = [i for i, name in enumerate(self._class_names) if counts[name]]
        absent = [name for name in self._class_names if not counts[name]]
        if not present:
            raise ValueError(
                f"DATASETS.TEST: the split {self._split!r} of {self._root!r} has no object to find "
                f"of any of the classes {list(self._class_names)}."
            )
        if absent:
            logger.info("Not in %s, so not in the mean AP: %s", self._split, ", ".join(absent))
        self._class_names = [self._class_names[i] for i in present]
        self._predictions = {
            new: self._predictions[old]
            for new, old in enumerate(present)
            if old in self._predictions
        }

    def _prepare_files(self, trees):
        """Score against copies of the files if detectron2 could not read the files themselves.

        Args:
            trees: {image id: root element}; completed in place.
        """
        changes = [_complete(x) for x in trees.values()]
        if any(changes):
            logger.info(
                "%d annotation files lack %s, or have fractions in boxes: taken as %s, rounded",
                sum(changes),
                "/".join(_DEFAULTS),
                "/".join(_DEFAULTS.values()),
            )
            self._anno_file_template = os.path.join(self._output_folder, "annotations", "{}.xml")
            for image_id, tree in trees.items():
                path = self._anno_file_template.format(image_id)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                ElementTree.ElementTree(tree).write(path)
        # detectron2 takes every line of the split for an image, even an empty one
        os.makedirs(self._output_folder, exist_ok=True)
        self._image_set_path = os.path.join(self._output_folder, f"{self._split}.txt")
        with open(self._image_set_path, "w", encoding="utf-8") as file:
            file.write("\n".join(trees))


def _complete(tree):
    """Add what detectron2 reads of every object; return True if anything was changed."""
    before = ElementTree.tostring(tree)
    for item in tree.findall("object"):
        for tag, default in _DEFAULTS.items():
            element = item.find(tag)
            if element is None:
                element = ElementTree.SubElement(item, tag)
            text = (element.text or "").strip()
            if not (text.isdigit() if default.isdigit() else text):
                element.text = default
        for tag in BOX_TAGS:
            corner = item.find(f"bndbox/{tag}")
            if not corner.text.strip().isdigit():
                corner.text = str(round(float(corner.text)))
    return ElementTree.tostring(tree) != before
