"""Detections of several models, next to the ground truth."""

import cv2
import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.utils.visualizer import ColorMode, Visualizer

from ..data.image_io import read_image


def predict(model, dataset_dicts, min_score):
    """Run a detector on some images, at their own size.

    Args:
        model: a detector in eval mode.
        dataset_dicts: with ``file_name``.
        min_score: detections with a lower score are left out.

    Returns:
        list of detectron2 Instances on the CPU.
    """
    results = []
    for item in dataset_dicts:
        image = read_image(item["file_name"])
        height, width = image.shape[:2]
        if model.input_format == "BGR":
            image = image[:, :, ::-1]
        tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32))
        with torch.no_grad():
            found = model([{"image": tensor, "height": height, "width": width}])[0]["instances"]
        found = found.to("cpu")
        results.append(found[found.scores >= min_score])
    return results


def draw_detections(dataset_name, dataset_dicts, columns, path, scale=2.0):
    """Write a sheet: a row per image; the first column is the ground truth, then one per model.

    Args:
        dataset_name: its metadata gives the class names.
        dataset_dicts: images with annotations.
        columns: {title: list of Instances, one per image}.
        path: PNG file to write.
        scale: drawing pixels per image pixel.
    """
    metadata = MetadataCatalog.get(dataset_name)
    rows = []
    for i, item in enumerate(dataset_dicts):
        image = read_image(item["file_name"])

        def canvas(image=image):
            return Visualizer(image, metadata, scale=scale, instance_mode=ColorMode.IMAGE)

        cells = [canvas().draw_dataset_dict(item).get_image()]
        for found in columns.values():
            cells.append(canvas().draw_instance_predictions(found[i]).get_image())
        rows.append(np.concatenate(cells, axis=1))
    sheet = np.concatenate(rows, axis=0)
    sheet = np.concatenate([_titles(["labels", *columns], sheet.shape[1]), sheet], axis=0)
    cv2.imwrite(str(path), np.ascontiguousarray(sheet[:, :, ::-1]))


def _titles(names, width):
    bar = np.full((24, width, 3), 255, np.uint8)
    for i, name in enumerate(names):
        place = (i * width // len(names) + 4, 17)
        cv2.putText(bar, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return bar
