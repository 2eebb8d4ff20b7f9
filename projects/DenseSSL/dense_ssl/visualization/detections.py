"""Detections of several models, next to the ground truth."""

import cv2
import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.data.detection_utils import annotations_to_instances
from detectron2.structures import BoxMode, Instances
from matplotlib.figure import Figure

from ..data.image_io import read_image
from ..utils.picture_files import write_picture
from .objects import draw_instances


def draw_detections(dataset_name, dataset_dicts, columns, path, scale=2):
    """Write a sheet: a row per image; the first column is the ground truth, then one per model.

    Args:
        dataset_name: its metadata gives the class names.
        dataset_dicts: images with annotations.
        columns: {title: list of Instances, one per image}.
        path: PNG file to write.
        scale: drawing pixels per image pixel.
    """
    labels = MetadataCatalog.get(dataset_name).as_dict()
    rows = []
    for i, item in enumerate(dataset_dicts):
        image = read_image(item["file_name"])
        found = [as_instances(item, image.shape[:2]), *(x[i] for x in columns.values())]
        cells = [draw_instances(image, x, labels, scale) for x in found]
        rows.append(np.concatenate(cells, axis=1))
    width = max(x.shape[1] for x in rows)
    rows = [np.pad(x, ((0, 0), (0, width - x.shape[1]), (0, 0)), constant_values=255) for x in rows]
    sheet = np.concatenate([_titles(["labels", *columns], width), *rows], axis=0)
    write_picture(path, sheet[:, :, ::-1])


def draw_detection_grid(labels, dataset_dicts, columns):
    """Draw the same as figure; rows may differ in size.

    Args:
        labels: fields of detectron2's metadata, of :func:`.objects.draw_instances`.
        dataset_dicts, columns: of :func:`draw_detections`.

    Returns:
        matplotlib Figure.
    """
    titles, rows = ["labels", *columns], []
    for i, item in enumerate(dataset_dicts):
        image = read_image(item["file_name"])
        found = [as_instances(item, image.shape[:2]), *(x[i] for x in columns.values())]
        rows.append([draw_instances(image, x, labels) for x in found])
    heights = [x[0].shape[0] / x[0].shape[1] for x in rows]
    figure = Figure(figsize=(3 * len(titles), 3 * sum(heights) + 0.4), layout="constrained")
    axes = figure.subplots(len(rows), len(titles), squeeze=False, height_ratios=heights)
    for row, pictures in zip(axes, rows):
        for axis, picture in zip(row, pictures):
            axis.imshow(picture)
            axis.set_axis_off()
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=10)
    return figure


def as_instances(item, size):
    """Return the labels of an image as if a detector had found them, without scores.

    Crowds and objects marked difficult are left out.
    """
    annotations = [
        {**x, "bbox": BoxMode.convert(list(x["bbox"]), x["bbox_mode"], BoxMode.XYXY_ABS),
         "bbox_mode": BoxMode.XYXY_ABS}
        for x in item["annotations"] if not x.get("iscrowd", 0) and not x.get("difficult", 0)
    ]  # fmt: skip
    truth = annotations_to_instances(annotations, size, mask_format="bitmask")
    result = Instances(size, pred_boxes=truth.gt_boxes, pred_classes=truth.gt_classes)
    if truth.has("gt_masks"):
        result.pred_masks = truth.gt_masks.tensor
    return result


def _titles(names, width):
    bar = np.full((24, width, 3), 255, np.uint8)
    for i, name in enumerate(names):
        place = (i * width // len(names) + 4, 17)
        cv2.putText(bar, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return bar
