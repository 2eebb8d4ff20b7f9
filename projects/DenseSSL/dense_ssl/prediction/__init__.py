"""Using a trained detector or segmentor: images in, pictures and tables out."""

from .images import find_images
from .run import predict_images

__all__ = ["find_images", "predict_images"]
