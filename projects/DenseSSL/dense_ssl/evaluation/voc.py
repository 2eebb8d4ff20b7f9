"""Average precision of PASCAL VOC, also for annotations that are not PASCAL's."""

import json
import logging
import os
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import PascalVOCDetectionEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.evaluation.pascal_voc_evaluation import parse_rec, voc_eval
from detectron2.utils import comm
from tabulate import tabulate

from ..data.sources.voc import BOX_TAGS, annotation_file, read_objects, read_split

logger = logging.getLogger(__name__)

# Tags that detectron2 reads and does not use.
_UNUSED = {"pose": "Unspecified", "truncated": "0"}
# Overlaps, in percent, that AP is the mean over, as in COCO.
_OVERLAPS = range(50, 100, 5)


class VOCEvaluator(PascalVOCDetectionEvaluator):
    """detectron2's VOC evaluator, with the AP of each class and the predictions in a file.

    On PASCAL's own data the means are detectron2's. Beyond it, annotation files may lack pose,
    truncated and difficult and may have fractions in their boxes. Classes without an object in the
    split are left out; detectron2 counts them as 0, or as NaN if one was predicted.
    """

    def __init__(self, dataset_name, output_folder):
        """
        Args:
            dataset_name: of a data set with VOC metadata.
            output_folder: for ``coco_instances_results.json``, the list of images, and the labels
                as detectron2 reads them.
        """
        super().__init__(dataset_name)
        meta = MetadataCatalog.get(dataset_name)
        self._root, self._split = meta.dirname, meta.split
        self._output_folder = output_folder

    def reset(self):
        super().reset()
        self._results = []
        # detectron2 separates the id and the score by a space and names a file by the id: any id
        # has a number there
        self._numbers = {x: str(i) for i, x in enumerate(read_split(self._root, self._split))}

    def process(self, inputs, outputs):
        numbered = [{**x, "image_id": self._numbers[x["image_id"]]} for x in inputs]
        super().process(numbered, outputs)
        for item, output in zip(inputs, outputs):
            instances = output["instances"].to(self._cpu_device)
            self._results += instances_to_coco_json(instances, item["image_id"])

    def evaluate(self):
        """Compute the AP from the predictions of all processes, and write the predictions.

        Returns:
            {"bbox": {"AP", "AP50", "AP75", "AP-<class>" of each class in the split}} in percent in
            the main process, else None.
        """
        files = {number: read_objects(annotation_file(self._root, x))[1]
                 for x, number in self._numbers.items()}  # fmt: skip
        counts = self._count_objects(files.values())
        lines, results = comm.gather(self._predictions, dst=0), comm.gather(self._results, dst=0)
        if not comm.is_main_process():
            return None
        self._write_predictions([x for part in results for x in part])
        paths = self._write_labels(files)
        aps = {}
        for i, name in enumerate(self._class_names):
            if counts[name]:
                found = [line for part in lines for line in part.get(i, [])]
                aps[name] = self._class_ap(name, found, *paths)
        self._log_table(aps, counts)
        return {"bbox": _means(aps)}

    def _count_objects(self, images):
        """Return the objects of each class in the split, not counting difficult ones."""
        counts = Counter(x["name"] for image in images for x in image if not x["difficult"])
        absent = [name for name in self._class_names if not counts[name]]
        if len(absent) == len(self._class_names):
            raise ValueError(
                f"DATASETS.TEST: the split {self._split!r} of {self._root!r} has no object to find "
                f"of any of the classes {list(self._class_names)}."
            )
        if absent:
            logger.info("Not in %s, so not in the mean AP: %s", self._split, ", ".join(absent))
        return counts

    def _write_predictions(self, results):
        """Write the predictions in COCO's format; category_id is the index of the class."""
        os.makedirs(self._output_folder, exist_ok=True)
        path = os.path.join(self._output_folder, "coco_instances_results.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(results, file)
        logger.info("%d predictions written to %s", len(results), path)

    def _class_ap(self, name, lines, annotations, image_set):
        """Return the AP of one class at each overlap, in percent.

        Args:
            name: of the class.
            lines: its predictions, as ``process`` of detectron2 writes them.
            annotations, image_set: result of :meth:`_write_labels`.
        """
        with tempfile.TemporaryDirectory(prefix="voc_evaluation_") as folder:
            path = os.path.join(folder, "predictions.txt")
            with open(path, "w", encoding="utf-8") as file:
                file.write("\n".join(lines))
            arguments = _pattern(path), annotations, image_set, name
            return [100 * voc_eval(*arguments, x / 100, self._is_2007)[2] for x in _OVERLAPS]

    def _log_table(self, aps, counts):
        rows = [
            (name, counts[name], np.mean(x), x[0], x[_OVERLAPS.index(75)])
            for name, x in aps.items()
        ]
        table = tabulate(rows, ("class", "objects", "AP", "AP50", "AP75"), "pipe", floatfmt=".3f")
        logger.info("Average precision on %s by class:\n%s", self._dataset_name, table)

    def _write_labels(self, files):
        """Write the labels as detectron2 reads them: its own reader knows PASCAL's files alone.

        Args:
            files: {number of the image: objects, as ``read_objects`` gives them}.

        Returns:
            (path of annotation files with "{}" for the number, path of the list of images).
        """
        parse_rec.cache_clear()  # it keeps what files of these names held before
        annotations = os.path.join(_pattern(self._output_folder), "annotations", "{}.xml")
        for number, objects in files.items():
            path = annotations.format(number)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            ElementTree.ElementTree(_tree(objects)).write(path)
        image_set = os.path.join(self._output_folder, f"{self._split}.txt")
        with open(image_set, "w", encoding="utf-8") as file:
            file.write("\n".join(files))
        return annotations, image_set


def _pattern(path):
    """Return a path as detectron2's voc_eval needs it, which calls its ``format``."""
    return path.replace("{", "{{").replace("}", "}}")


def _means(aps):
    """Return the results of {class: AP at each overlap}."""
    by_overlap = dict(zip(_OVERLAPS, np.array(list(aps.values())).mean(axis=0).tolist()))
    return {
        "AP": float(np.mean(list(by_overlap.values()))),
        "AP50": by_overlap[50],
        "AP75": by_overlap[75],
        **{f"AP-{name}": float(np.mean(x)) for name, x in aps.items()},
    }


def _tree(objects):
    """Return the xml of an image with the tags that detectron2 reads."""
    root = ElementTree.Element("annotation")
    for item in objects:
        element = ElementTree.SubElement(root, "object")
        box = ElementTree.SubElement(element, "bndbox")
        numbers = [str(round(x)) for x in item["box"]]  # it reads whole numbers
        values = {"name": item["name"], "difficult": str(int(item["difficult"])), **_UNUSED}
        for parent, content in ((element, values), (box, dict(zip(BOX_TAGS, numbers)))):
            for tag, text in content.items():
                ElementTree.SubElement(parent, tag).text = text
    return root
