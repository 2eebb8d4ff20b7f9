"""Regions that come with the data, instead of a method's grid.

A region source gives a label map of an image: uint8 (H, W), one number per region, 255 for none.
"""

import os

import cv2
import numpy as np
import torch
from detectron2.structures import BoxMode
from pycocotools import mask as coco_mask

from ...structures import NO_REGION
from ...utils.checks import require_one_of
from ...utils.errors import prefix_errors
from ..image_io import BrokenImageError
from ..sources.folder import check_folder
from ..sources.label_maps import read_label_map
from ..tar_members import name_in_archive

SOURCES = ("grid", "boxes", "masks", "files")
# Those that read annotations.
ANNOTATED = ("boxes", "masks")
_MOST_REGIONS = 254  # beside the background, 0, and 255 for none


def build_region_source(node):
    """Build the region source of the config node INPUT.REGIONS.

    Returns:
        function of (dataset dict, height, width) giving uint8 (height, width); None for the grid.
    """
    require_one_of("INPUT.REGIONS.SOURCE", node.SOURCE, SOURCES)
    if node.SOURCE == "grid":
        return None
    if node.SOURCE == "files":
        folder = os.path.expanduser(node.FOLDER)
        with prefix_errors("INPUT.REGIONS.FOLDER"):
            check_folder(folder, "the folder of the label maps")
        return LabelFiles(folder)
    return AnnotatedRegions(node.SOURCE, node.BACKGROUND)


class LabelFiles:
    """Label maps in PNG files of the images' names, in the same sub-folders or in none.

    For the image ``photos/a/1.jpg`` it is ``a/1.png`` if that exists, otherwise ``1.png``.
    """

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, dataset_dict, height, width):
        path = self._path(dataset_dict["file_name"])
        with prefix_errors("INPUT.REGIONS.FOLDER"):
            try:
                labels = read_label_map(path)
            except BrokenImageError as error:  # that is for images, which are replaced by others
                raise ValueError(error) from error
            if labels.max() > NO_REGION:
                raise ValueError(f"{path!r} has values above {NO_REGION}, which means no region.")
            _check_aspect(path, labels.shape, (height, width))
        labels = labels.astype(np.uint8)
        if labels.shape != (height, width):
            labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
        return labels

    def _path(self, file_name):
        """Return the file that shares most folders with the image; without folders if none does."""
        file_name = name_in_archive(file_name) or os.path.abspath(file_name)
        parts = os.path.splitext(file_name.strip("/"))[0].split("/")
        paths = [os.path.join(self.folder, *parts[i:]) + ".png" for i in range(len(parts))]
        return next((x for x in paths if os.path.exists(x)), paths[-1])


def _check_aspect(path, labels, image):
    """Raise if (height, width) of a label map and its image have different aspect ratios."""
    if abs(labels[0] * image[1] - labels[1] * image[0]) > 0.05 * labels[0] * image[1]:
        raise ValueError(
            f"{path!r} has {labels[1]} x {labels[0]} pixels, the image {image[1]} x {image[0]} "
            "(its EXIF orientation applied): different shapes. Is the label map rotated, or from "
            "another image?"
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
    """Decode polygons or a run-length code, in detectron2's format, to (height, width) bool."""
    if isinstance(segmentation, list):
        segmentation = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        segmentation = coco_mask.frPyObjects(segmentation, *segmentation["size"])
    mask = coco_mask.decode(segmentation).astype(np.uint8)
    if mask.shape != (height, width):  # the annotation was made at another size
        mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    return mask.astype(bool)


def regions_of_view(label_map, affine, size, resolution):
    """Return the region at the centre of each of R x R cells of a view.

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
