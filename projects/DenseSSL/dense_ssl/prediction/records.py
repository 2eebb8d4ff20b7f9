"""What was found, as a COCO json and as a table."""

import csv
import json
import os
from collections import Counter

import numpy as np
import pycocotools.mask
from detectron2.evaluation.coco_evaluation import instances_to_coco_json

_COLUMNS = ("file_name", "class", "category_id", "score", "x1", "y1", "x2", "y2", "area")


class Records:
    """Collects predictions, and writes them.

    The json is a complete COCO file (images, categories, annotations with a ``score``), so that it
    is a data set as well: ``coco:predictions.json:IMAGES``. COCO's results format, which
    ``COCO.loadRes`` takes, is its list of annotations.

    Attributes:
        counts: objects found by class; of a segmentor the images that show a class.
    """

    def __init__(self, root, table):
        """
        Args:
            root: folder that the file names start from.
            table: :class:`~.classes.ClassTable`.
        """
        self._root, self._table = root, table
        self._images, self._annotations, self._rows = [], [], []
        self.counts = Counter()

    def add_instances(self, name, image, instances):
        """Add the detections on an image, detectron2's Instances on the CPU."""
        image_id = self._add_image(name, image)
        boxes = instances.pred_boxes.tensor.tolist()
        for box, item in zip(boxes, instances_to_coco_json(instances, image_id)):
            x, y, width, height = item["bbox"]
            item["area"] = width * height
            if "segmentation" in item:
                item["area"] = float(pycocotools.mask.area(item["segmentation"]))
            if "keypoints" in item:
                item["num_keypoints"] = len(item["keypoints"]) // 3
            self._add(name, item, item["category_id"], item["score"], box)

    def add_segments(self, name, image, segments):
        """Add the class of each pixel, (H, W): one annotation for each class that is there."""
        image_id = self._add_image(name, image)
        for number in np.unique(segments).tolist():
            rle = pycocotools.mask.encode(np.asfortranarray(segments == number, dtype=np.uint8))
            x, y, width, height = pycocotools.mask.toBbox(rle).tolist()
            rle["counts"] = rle["counts"].decode()
            item = {"image_id": image_id, "segmentation": rle, "bbox": [x, y, width, height]}
            item["area"] = float((segments == number).sum())
            self._add(name, item, number, None, [x, y, x + width, y + height])

    def write(self, folder):
        """Write predictions.json and predictions.csv."""
        os.makedirs(folder, exist_ok=True)
        data = {
            "info": {"description": "predictions of DenseSSL", "images_below": self._root},
            "images": self._images,
            "categories": self._table.categories(),
            "annotations": self._annotations,
        }
        with open(os.path.join(folder, "predictions.json"), "w", encoding="utf-8") as file:
            json.dump(data, file)
        with open(os.path.join(folder, "predictions.csv"), "w", encoding="utf-8",
                  newline="", errors="surrogateescape") as file:  # fmt: skip
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            writer.writerows(self._rows)

    def _add_image(self, name, image):
        height, width = image.shape[:2]
        self._images.append({"id": len(self._images) + 1, "file_name": name.replace(os.sep, "/"),
                             "height": height, "width": width})  # fmt: skip
        return self._images[-1]["id"]

    def _add(self, name, item, number, score, box):
        class_name, category = self._table.names[number], self._table.ids[number]
        item.update(id=len(self._annotations) + 1, category_id=category, iscrowd=0)
        self._annotations.append(item)
        self.counts[class_name] += 1
        self._rows.append([
            name, class_name, category, "" if score is None else f"{score:.4f}",
            *(f"{x:.1f}" for x in box), f"{item['area']:.0f}",
        ])  # fmt: skip
