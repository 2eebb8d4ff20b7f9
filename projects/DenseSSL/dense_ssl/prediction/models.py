"""Loaded models on images that are files, arrays or PIL images."""

import contextlib

import numpy as np
import torch
from detectron2.structures import ImageList
from torch import nn
from torch.nn import functional as F

from ..checkpoint.labels import labels_in
from ..data.deep_images import rgb_of_pil
from ..data.finetune.images import ResizeShortestEdge
from ..data.finetune.labels import training_labels
from ..data.image_io import read_image
from ..data.sources.entries import resolve_dataset
from ..modeling.backbones import extract_features, pixel_values


class FeatureMaps(nn.Module):
    """A backbone in evaluation mode that takes images as they are.

    Attributes:
        backbone: of detectron2; takes normalised pixels (N, 3, H, W).
        cfg: its config.
    """

    def __init__(self, backbone, cfg):
        super().__init__()
        self.backbone, self.cfg = backbone, cfg
        for name in ("mean", "std"):
            value = cfg.MODEL[f"PIXEL_{name.upper()}"]
            self.register_buffer(name, pixel_values(value), False)
        self.eval().to(cfg.MODEL.DEVICE)

    @torch.no_grad()
    def forward(self, images, size=None):
        """Return the feature maps of some images.

        Args:
            images: one image or a list: file names, PIL images, or uint8 (H, W, 3) in RGB.
            size: (height, width) that they are resized to. None: they keep their size, and are
                padded at the right and bottom to the largest.

        Returns:
            {map: (N, C, h, w)}; of a pyramid also the maps below it.
        """
        images = images if isinstance(images, (list, tuple)) else [images]
        if not images:
            raise ValueError("there is no image: give one, or a list of at least one.")
        pixels = [as_tensor(x, self.cfg.INPUT.FORMAT).to(self.mean) for x in images]
        if size is not None:
            pixels = [
                F.interpolate(x[None], size, mode="bilinear", antialias=True)[0] for x in pixels
            ]
        batch = ImageList.from_tensors(
            [(x - self.mean) / self.std for x in pixels], self.backbone.size_divisibility
        )
        return extract_features(self.backbone, batch.tensor)


class Detector:
    """A trained detector or segmentor.

    Attributes:
        model: in evaluation mode; takes detectron2's dicts.
        cfg: its config.
        labels: names of its classes and keypoints, by their fields in detectron2's metadata; see
            :func:`known_labels`.
    """

    def __init__(self, model, cfg, labels=None):
        self.model, self.cfg, self.labels = model.eval(), cfg, labels or {}
        node = cfg.INPUT
        self._resize = ResizeShortestEdge(node.MIN_SIZE_TEST, node.MAX_SIZE_TEST)

    def __call__(self, image):
        """Predict on one image, resized as in the evaluation.

        Args:
            image: a file name, a PIL image, or uint8 (H, W, 3) in RGB.

        Returns:
            what the model gives for an image: a dict with "instances" (detectron2's Instances on
            the CPU, in pixels of the image as it was given) or "sem_seg" (logits).
        """
        return self.predict([image])[0]

    @torch.no_grad()
    def predict(self, images):
        """Predict on several images, as one batch; return a list of what a single one gives."""
        outputs = self.model([self._input(as_array(x)) for x in images])
        return [{k: x.to("cpu") for k, x in y.items() if hasattr(x, "to")} for y in outputs]

    def _input(self, image):
        height, width = image.shape[:2]
        resized = self._resize.get_transform(image).apply_image(image)
        pixels = as_tensor(resized, self.cfg.INPUT.FORMAT)
        return {"image": pixels, "height": height, "width": width}


def known_labels(checkpoint, cfg):
    """Return the names of a detector's classes: of its checkpoint, or else of its training data.

    Args:
        checkpoint: what loading it returned.
        cfg: config of the detector.

    Returns:
        {field of detectron2's metadata: value}, see
        :func:`~dense_ssl.data.finetune.labels.training_labels`; {} if neither is known.
    """
    labels = labels_in(checkpoint)
    if not labels:  # of an older run, or of another program
        with contextlib.suppress(OSError, ValueError):  # the data need not be there
            for entry in cfg.DATASETS.TRAIN:
                resolve_dataset(entry)
            labels = training_labels(cfg)
    return labels


def as_array(image):
    """Return an image as uint8 (H, W, 3) in RGB, whether it is a file, an array or of PIL.

    A PIL image gives the pixels of its file: turned as EXIF says, deep values brought to 8 bits.
    """
    if hasattr(image, "convert"):  # PIL
        image = rgb_of_pil(image)
    elif not isinstance(image, np.ndarray):
        image = read_image(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"an image must be uint8 (height, width, 3) in RGB, not {image.dtype} {image.shape}."
        )
    return image


def as_tensor(image, channels):
    """Return an image as uint8 (3, H, W); ``channels``: "RGB" or "BGR", as INPUT.FORMAT."""
    image = as_array(image)
    image = image[:, :, ::-1] if channels == "BGR" else image
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
