"""Pasting the masks of boxes into an image, without loops."""

import torch


def paste_masks(masks, boxes, image_shape, threshold=0.5):
    """Do what detectron2's ``paste_masks_in_image`` does, by matrix products.

    Bilinear sampling is separable, so a pasted mask is (weights of rows) mask (weights of columns).
    It needs memory for K x H x W floats.

    Args:
        masks: (K, M, M), probabilities on the grid of each box.
        boxes: (K, 4), x0, y0, x1, y1 in pixels.
        image_shape: (H, W), numbers or tensors.
        threshold: pixels at least as probable are True.

    Returns:
        bool (K, H, W).
    """
    x0, y0, x1, y1 = boxes.unbind(dim=1)
    rows = _weights(y0, y1, image_shape[0], masks.shape[-2])
    columns = _weights(x0, x1, image_shape[1], masks.shape[-1])
    return rows @ masks @ columns.transpose(1, 2) >= threshold


def _weights(low, high, pixels, cells):
    """Return (K, pixels, cells): the share of each cell of [low, high] in the centre of a pixel."""
    centres = torch.arange(pixels, device=low.device, dtype=low.dtype) + 0.5
    position = (centres - low[:, None]) / (high - low)[:, None] * cells - 0.5
    cell = torch.arange(cells, device=low.device, dtype=low.dtype)
    return (1 - (position[:, :, None] - cell).abs()).clamp(min=0)
