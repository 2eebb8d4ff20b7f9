"""Using finished weights: feature maps of a backbone; what a detector or segmentor finds."""

from .images import find_images
from .run import predict_images

__all__ = ["find_images", "predict_images"]
