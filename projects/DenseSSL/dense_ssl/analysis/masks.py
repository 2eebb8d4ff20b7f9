"""The masks of the objects of an image, whatever kind of labels the data has."""

import numpy as np
from detectron2.data.detection_utils import annotations_to_instances
from detectron2.structures import BoxMode

from ..data.finetune.region_mapper import counted
from ..data.sources.label_maps import IGNORED, read_label_map


def object_masks(item, size, metadata):
    """Return the masks of the objects of an image.

    Args:
        item: detectron2's dict, with annotations that have a segmentation, or with the file of a
            label map. Of a label map every value is one object, except 255, those that the data
            ignores, and the background of VOC: ``vocseg:ROOT:val:SegmentationObject`` has VOC's
            objects.
        size: (height, width) of the image.
        metadata: of the data set.

    Returns:
        list of bool (H, W); empty masks are left out.
    """
    if "sem_seg_file_name" in item:
        values = read_label_map(item["sem_seg_file_name"])
        left_out = {IGNORED, *(metadata.get("ignored_values") or ())}
        if list(metadata.get("stuff_classes", ()))[:1] == ["background"]:
            left_out.add(0)
        masks = [values == x for x in np.unique(values) if x not in left_out]
    else:
        annotations = [
            {**x, "bbox": BoxMode.convert(list(x["bbox"]), x["bbox_mode"], BoxMode.XYXY_ABS),
             "bbox_mode": BoxMode.XYXY_ABS}
            for x in counted(item) if "segmentation" in x
        ]  # fmt: skip
        instances = annotations_to_instances(annotations, size, mask_format="bitmask")
        masks = list(instances.gt_masks.tensor.numpy()) if annotations else []
    return [x for x in masks if x.any() and x.shape == tuple(size)]
