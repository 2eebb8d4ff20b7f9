"""The images of labelled data: pre-training's reader, and resizes that keep thin images."""

from detectron2.data import detection_utils
from detectron2.data import transforms as T

from ..image_io import BrokenImageError, read_image


def data_key(is_train):
    """Return the key that names the data, for messages."""
    return "DATASETS.TRAIN" if is_train else "DATASETS.TEST"


def load_image(item, channels):
    """Read the image of a dict as pre-training does; an image that cannot be read is an error.

    Args:
        item: detectron2's dict; ``height`` and ``width`` are set if it has none.
        channels: INPUT.FORMAT.

    Returns:
        array (H, W, C).

    Raises:
        BrokenImageError: names the file and the reason. Unlike unlabelled images, one with labels
            is not replaced by another.
        SizeMismatchError: the dict states another size.
    """
    try:
        image = read_image(item["file_name"], channels)
    except BrokenImageError as error:
        raise BrokenImageError(
            f"cannot read an image, {error}. Replace the file by an intact copy, or remove it "
            "together with its labels."
        ) from error
    detection_utils.check_image_size(item, image)
    return image


class ResizeShortestEdge(T.ResizeShortestEdge):
    """detectron2's, except that every side keeps a pixel: 3 x 4000 pixels can be resized."""

    def get_transform(self, image):
        resize = super().get_transform(image)
        if not isinstance(resize, T.ResizeTransform):  # a size of 0 stands for none
            return resize
        height, width = max(resize.new_h, 1), max(resize.new_w, 1)
        return T.ResizeTransform(resize.h, resize.w, height, width, resize.interp)


def keep_thin_images(augmentations):
    """Return augmentations with our :class:`ResizeShortestEdge` instead of detectron2's."""
    return [
        ResizeShortestEdge(x.short_edge_length, x.max_size, x.sample_style, x.interp)
        if isinstance(x, T.ResizeShortestEdge)
        else x
        for x in augmentations
    ]
