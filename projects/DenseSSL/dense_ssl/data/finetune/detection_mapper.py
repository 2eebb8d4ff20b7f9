"""Training and test inputs of detectors: detectron2's, with the images of pre-training's reader."""

import copy

import numpy as np
import torch
from detectron2.data import DatasetMapper, detection_utils
from detectron2.data import transforms as T

from ...utils.errors import prefix_errors
from .images import data_key, keep_thin_images, load_image


class DetectionMapper(DatasetMapper):
    """detectron2's DatasetMapper with the reader of pre-training, for boxes, masks and keypoints.

    Augmentations, annotations and proposals are detectron2's. Label maps beside the annotations are
    read as there, as grey values.
    """

    @classmethod
    def from_config(cls, cfg, is_train=True):
        settings = super().from_config(cfg, is_train)
        settings["augmentations"] = keep_thin_images(settings["augmentations"])
        return settings

    def __call__(self, item):
        """
        Args:
            item: detectron2's dict of an image; it is not changed.

        Returns:
            dict with ``image``, uint8 (C, H, W), and in training ``instances``.
        """
        item = copy.deepcopy(item)
        with prefix_errors(data_key(self.is_train)):
            image = load_image(item, self.image_format)
        path, labels = item.pop("sem_seg_file_name", None), None
        if path is not None:
            labels = detection_utils.read_image(path, "L").squeeze(2)
        aug_input = T.AugInput(image, sem_seg=labels)
        transforms = self.augmentations(aug_input)
        size = aug_input.image.shape[:2]
        # (H, W, C) -> (C, H, W)
        item["image"] = torch.as_tensor(np.ascontiguousarray(aug_input.image.transpose(2, 0, 1)))
        if labels is not None:
            item["sem_seg"] = torch.as_tensor(aug_input.sem_seg.astype("long"))
        if self.proposal_topk is not None:
            detection_utils.transform_proposals(
                item, size, transforms, proposal_topk=self.proposal_topk
            )
        annotations = item.pop("annotations", None)
        if self.is_train and annotations is not None:
            item["annotations"] = annotations  # taken out again, and turned into instances
            self._transform_annotations(item, transforms, size)
        return item
