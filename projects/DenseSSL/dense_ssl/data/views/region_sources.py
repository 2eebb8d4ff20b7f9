"""Regions that come with the data, in place of the grid of point-level region contrast (Fig. 7).

A region source gives a label map of an image: uint8 (H, W), one number per region, 255 for none.
"""

import os

import cv2
import numpy as np
import torch
from detectron2.structures import BoxMode
from pycocotools import mask as coco_mask

from ...structures import NO_REGION

SOURCES = ("grid", "boxes", "masks", "files")
# Those that read annotations.
ANNOTATED = ("boxes", "masks")
# 0 is the background where it counts as a region.
_MOST_REGIONS = 254


def build_region_source(node):
    """The region source of INPUT.REGIONS, or None for the grid.

    Args:
        node: the config node.

    Returns:
        function of (dataset dict, height, width) giving uint8 (height, width).
    """
    if node.SOURCE not in SOURCES:
        raise ValueError(f"INPUT.REGIONS.SOURCE is {node.SOURCE!r}; it must be one of {SOURCES}.")
    if node.SOURCE == "grid":
        return None
    if node.SOURCE == "files":
        if not os.path.isdir(os.path.expanduser(node.FOLDER)):
            raise FileNotFoundError(f"INPUT.REGIONS.FOLDER: {node.FOLDER!r} is not a folder.")
        return LabelFiles(os.path.expanduser(node.FOLDER))
    return AnnotatedRegions(node.SOURCE, node.BACKGROUND)


class LabelFiles:
    """Label maps in PNG files that are called as the images are, in the same folders or in one.

    Of the image ``photos/a/1.jpg`` it is ``a/1.png`` if there is one, otherwise ``1.png``.
    """

    def __init__(self, folder):
        """
        Args:
            folder: of the PNG files.
        """
        self.folder = folder

    def __call__(self, dataset_dict, height, width):
        path = self._path(dataset_dict["file_name"])
        labels = cv2.imread(path, cv2.IMREAD_UNCHANGED)
        if labels is None or labels.ndim != 2 or labels.dtype != np.uint8:
            raise ValueError(
                f"{path}, the label map of {dataset_dict['file_name']}, is missing or is no 8-bit "
                "image of one channel: mend it, or change INPUT.REGIONS.FOLDER."
            )
        if labels.shape != (height, width):
            _check_aspect(path, labels.shape, (height, width))
            labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
        return labels

    def _path(self, file_name):
        """The file with the longest end of the image's path; the shortest where there is none."""
        parts = os.path.splitext(os.path.abspath(file_name))[0].split(os.sep)[1:]
        paths = [os.path.join(self.folder, *parts[i:]) + ".png" for i in range(len(parts))]
        return next((x for x in paths if os.path.exists(x)), paths[-1])


def _check_aspect(path, labels, image):
    """Raise where a label map would be stretched: it is of another image, or not turned like it."""
    if abs(labels[0] * image[1] - labels[1] * image[0]) > 0.05 * labels[0] * image[1]:
        raise ValueError(
            f"{path} has {labels[1]} x {labels[0]} pixels, the image {image[1]} x {image[0]} "
            "(turned as its EXIF data say), another shape: it belongs to another image or is not "
            "turned. Mend it, or change INPUT.REGIONS.FOLDER."
        )


class AnnotatedRegions:
    """The boxes or masks of an image's annotations; smaller ones lie on top of larger ones."""

    def __init__(self, source, background):
        """
        Args:
            source: "boxes" or "masks"; an annotation without a mask counts with its box.
            background: whether what is not covered is a region.
        """
        self.source = source
        self.background = background

    def __call__(self, dataset_dict, height, width):
        labels = np.full((height, width), 0 if self.background else NO_REGION, np.uint8)
        masks = [self._mask(x, height, width) for x in dataset_dict.get("annotations", ())]
        masks = sorted((x for x in masks if x.any()), key=np.count_nonzero, reverse=True)
        for label, mask in enumerate(masks[-_MOST_REGIONS:], start=1):
            labels[mask] = label
        return labels

    def _mask(self, annotation, height, width):
        segmentation = annotation.get("segmentation")
        if self.source == "masks" and segmentation:
            return _decode_mask(segmentation, height, width)
        x1, y1, x2, y2 = BoxMode.convert(
            list(annotation["bbox"]), annotation["bbox_mode"], BoxMode.XYXY_ABS
        )
        mask = np.zeros((height, width), bool)
        mask[max(round(y1), 0) : max(round(y2), 0), max(round(x1), 0) : max(round(x2), 0)] = True
        return mask


def _decode_mask(segmentation, height, width):
    """Polygons or a run-length code, in detectron2's format, as (height, width) bool."""
    if isinstance(segmentation, list):
        segmentation = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        segmentation = coco_mask.frPyObjects(segmentation, *segmentation["size"])
    mask = coco_mask.decode(segmentation).astype(np.uint8)
    if mask.shape != (height, width):  # the annotation knew another size
        mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    return mask.astype(bool)


def regions_of_view(label_map, affine, size, resolution):
    """The region under the centre of each of R x R cells of a view.

    Args:
        label_map: uint8 (H, W) of the image.
        affine: (4,), from image to view pixels.
        size: side of the view in pixels.
        resolution: R.

    Returns:
        uint8 tensor (R, R).
    """
    centres = (np.arange(resolution) + 0.5) * size / resolution
    scale_x, shift_x, scale_y, shift_y = np.asarray(affine)
    columns, rows = (
        np.clip(np.floor((centres - shift) / scale).astype(int), 0, limit - 1)
        for scale, shift, limit in (
            (scale_x, shift_x, label_map.shape[1]),
            (scale_y, shift_y, label_map.shape[0]),
        )
    )
    return torch.from_numpy(label_map[np.ix_(rows, columns)])
