"""Classification of ground-truth boxes, or cells of label maps, by a frozen backbone.

SCRL (Roh et al. 2021) calls it RoI-linear evaluation; this form takes a minute. The features of
boxes are pooled by 1 x 1 RoIAlign and classified by logistic regression and by their nearest
neighbours. A label map counts as the boxes of its cells. It measures a backbone
when there are too few labels, or too little time, to train a detector. The evaluation of the paper
is :class:`~dense_ssl.modeling.detectors.roi_classifier.RoIClassifier`.
"""

import logging

import cv2
import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.layers import ROIAlign
from detectron2.structures import BoxMode
from torch import nn

from ..config.probe import probe_defaults
from ..data.finetune.region_mapper import boxes_of, counted
from ..data.image_io import read_image
from ..data.sources.label_maps import LabelReader
from ..data.sources.voc_difficult import marked_dicts
from ..modeling.backbones import (
    extract_features,
    feature_shapes,
    pixel_values,
    require_feature,
)
from ..modeling.geometry.boxes import pool_boxes
from ..modeling.norm_statistics import estimate_statistics
from ..utils.progress import progress
from .classifiers import class_accuracy, classify, logistic_regression
from .labelled_regions import majority_cells

logger = logging.getLogger(__name__)

# 50,000 boxes of 2048 features are 0.4 GB, and as much again in the logistic regression.
MAX_BOXES = 50_000


class BoxFeatures(nn.Module):
    """Pools the features of boxes from a backbone."""

    def __init__(self, backbone, in_feature, pixel_mean, pixel_std, side, input_format="RGB",
                 option="--feature"):  # fmt: skip
        """
        Args:
            backbone: a backbone of detectron2.
            in_feature: name of the feature map.
            pixel_mean, pixel_std: per channel, in the order of ``input_format``.
            side: images are resized to squares with sides of this many pixels.
            input_format: "RGB" or "BGR".
            option: that names the map, for the error if it does not exist.
        """
        super().__init__()
        shape = require_feature(feature_shapes(backbone), in_feature, option)
        self.backbone = backbone
        self.in_feature = in_feature
        self.pooler = ROIAlign(1, 1.0 / shape.stride, 0, True)
        self.side = side
        self.cells = side // shape.stride
        self.input_format = input_format
        self.register_buffer("mean", pixel_values(pixel_mean), False)
        self.register_buffer("std", pixel_values(pixel_std), False)

    def forward(self, dataset_dict):
        """Return the features (K, C) of the boxes of one image, a dict of detectron2."""
        return self.pool(read_image(dataset_dict["file_name"]), boxes_of(dataset_dict))

    def pool(self, image, boxes):
        """Return the features (K, C) of boxes.

        Args:
            image: uint8 (H, W, 3) in RGB.
            boxes: list of (x1, y1, x2, y2) in its pixels. A box of the whole image gives the mean
                over the map.
        """
        height, width = image.shape[:2]
        pixels = as_square(image, self.side, self.input_format).to(self.mean)
        features = extract_features(self.backbone, ((pixels - self.mean) / self.std)[None])
        boxes = torch.tensor(boxes, dtype=torch.float32).view(1, -1, 4)
        boxes = boxes * boxes.new_tensor([self.side / width, self.side / height] * 2)
        return pool_boxes(self.pooler, features[self.in_feature], boxes.to(self.mean.device))


def as_square(image, side, input_format):
    """Return an image, uint8 (H, W, 3) in RGB, resized to a square: uint8 (3, side, side)."""
    image = image[:, :, ::-1] if input_format == "BGR" else image
    image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)


def choose_images(dataset_dicts, max_boxes):
    """Return images in a fixed random order, until they have enough boxes.

    Args:
        dataset_dicts: of detectron2. max_boxes: the last image may exceed it.
    """
    counts = np.array([len(counted(x)) for x in dataset_dicts])
    if counts.sum() <= max_boxes:
        return dataset_dicts
    order = np.random.default_rng(0).permutation(len(counts))
    before = np.cumsum(counts[order]) - counts[order]  # boxes of the images before this one
    chosen = np.sort(order[before < max_boxes])
    logger.warning(
        "%d of %d boxes are used, so that their features fit into memory (--max-boxes)",
        counts[chosen].sum(), counts.sum(),
    )  # fmt: skip
    return [dataset_dicts[i] for i in chosen]


@torch.no_grad()
def collect(model, dataset_dicts):
    """Return features (K, C) and labels (K,) of all boxes of some images, as numpy arrays.

    All features are held at once: 4 bytes x C for each box, which :func:`choose_images` limits.
    """
    model.eval()
    features, labels = [], []
    for dataset_dict in progress(dataset_dicts, "Features of boxes"):
        classes = [x["category_id"] for x in counted(dataset_dict)]
        if classes:
            features.append(model(dataset_dict).float().cpu().numpy())
            labels += classes
    return np.concatenate(features), np.array(labels)


def labelled_dicts(name, cells):
    """Return the dicts of a registered data set, with the cells of label maps as annotations.

    Args:
        name: of the data set. cells: a label map is divided into ``cells`` x ``cells`` of them.
    """
    dicts = [{"annotations": [], **x} for x in marked_dicts(name)]
    if any(x.get("annotations") for x in dicts) or "sem_seg_file_name" not in dicts[0]:
        return dicts
    reader, found = LabelReader(name), []
    for item in progress(dicts, "Reading label maps"):
        boxes, classes = majority_cells(reader(item["sem_seg_file_name"]), cells)
        annotations = [{"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": c}
                       for box, c in zip(boxes.tolist(), classes.tolist())]  # fmt: skip
        found.append({**item, "annotations": annotations})
    return found


def _with_boxes(name, cells):
    """Return the dicts of a data set that have objects which count; raise if there are none."""
    dicts = [x for x in labelled_dicts(name, cells) if counted(x)]
    if not dicts:
        raise ValueError(f"{name!r} has no labelled object: name data with boxes or label maps.")
    return dicts


def _refuse_other_classes(train, test):
    """Raise where a number means one class in one data set and another one in the other."""
    metadata = [MetadataCatalog.get(x) for x in (train, test)]
    names = [list(x.get("thing_classes") or x.get("stuff_classes") or ()) for x in metadata]
    if all(names) and names[0] != names[1]:
        raise ValueError(
            f"{train!r} has the classes {names[0]}, but {test!r} {names[1]}: the same ones, in the "
            "same order, are needed. classes.txt states them for a VOC folder."
        )


def roi_linear(model, train, test, norm_images=200, max_boxes=MAX_BOXES):
    """Return the accuracies of two classifiers on the boxes, or cells, of two data sets.

    Batch norm statistics are estimated first: a randomly initialised backbone has none.

    Args:
        model: :class:`BoxFeatures`.
        train, test: names of registered data sets.
        norm_images: number of training images for batch norm statistics.
        max_boxes: of each data set, see :func:`choose_images`.

    Returns:
        dict: ``accuracy`` and ``class_accuracy`` (the mean over the classes of the training data)
        of logistic regression in percent, for which all boxes weigh the same; ``linear`` and
        ``knn``: class accuracies of ridge regression and of the nearest neighbours, which weigh
        the classes, as in TEST.PROBE; ``majority``: the percentage of the most frequent class in
        the test data; ``train_boxes`` and ``test_boxes``: how many.
    """
    _refuse_other_classes(train, test)
    dicts, test_dicts = (_with_boxes(x, model.cells) for x in (train, test))
    model.train()
    estimate_statistics(model, dicts, min(norm_images, len(dicts)))
    x, y = collect(model, choose_images(dicts, max_boxes))
    x_test, y_test = collect(model, choose_images(test_dicts, max_boxes))
    if len(set(y)) < 2:
        raise ValueError(
            f"{train!r} has objects of one class alone: there is nothing to tell apart."
        )
    known = np.isin(y_test, y)
    if not known.any():
        raise ValueError(f"{test!r} has no object of a class that {train!r} has.")
    x_test, y_test = x_test[known], y_test[known]
    predicted = logistic_regression(x, y, 0.01).predict(x_test)
    if len(set(predicted)) == 1:
        logger.warning(
            "The logistic regression names every box as class %d, which %.0f %% of the training "
            "boxes are. Read `linear` and `knn`, which weigh the classes.",
            predicted[0], 100 * (y == predicted[0]).mean(),
        )  # fmt: skip
    node = probe_defaults()
    return {
        "accuracy": 100 * (predicted == y_test).mean(),
        "class_accuracy": class_accuracy(predicted, y_test),
        **classify(x, y, x_test, y_test, node.RIDGE, node.NEIGHBOURS),
        "majority": 100 * np.bincount(y_test).max() / len(y_test),
        "train_boxes": len(y),
        "test_boxes": len(y_test),
    }
