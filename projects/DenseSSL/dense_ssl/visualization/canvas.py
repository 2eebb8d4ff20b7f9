"""Pixels to draw on, and sheets of pictures."""

import numpy as np
from matplotlib.figure import Figure

_MARGIN = 4


def enlarged(image, scale):
    """Enlarge (3, H, W) float, 0 to 255, to uint8 (scale * H, scale * W, 3), contiguous."""
    pixels = image.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(pixels.repeat(scale, axis=0).repeat(scale, axis=1))


def side_by_side(columns):
    """Arrange pictures in a sheet.

    Args:
        columns: list of columns, each a list of uint8 (h, w, 3); sizes may differ.

    Returns:
        uint8 (3, height, width).
    """
    side = max(max(x.shape[:2]) for column in columns for x in column)
    sheet = [np.concatenate([_padded(x, side) for x in column]) for column in columns]
    return np.concatenate(sheet, axis=1).transpose(2, 0, 1)


def _padded(pixels, side):
    canvas = np.full((side + _MARGIN, side + _MARGIN, 3), 255, np.uint8)
    canvas[: pixels.shape[0], : pixels.shape[1]] = pixels
    return canvas


def image_grid(rows, titles, height=2.5):
    """Return a Figure and its (rows, len(titles)) axes without ticks; a title above each column.

    Args:
        height: of a row, in inches.
    """
    figure = Figure(figsize=(2.3 * len(titles), height * rows + 0.4), layout="constrained")
    no_ticks = {"xticks": [], "yticks": []}
    axes = figure.subplots(rows, len(titles), squeeze=False, subplot_kw=no_ticks)
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=9)
    return figure, axes


def as_figure(picture, dpi=110):
    """Return a matplotlib Figure that is a picture, pixel by pixel.

    Args:
        picture: uint8 (3, H, W) or (H, W, 3).
        dpi: with which it is saved.
    """
    picture = picture.transpose(1, 2, 0) if picture.shape[0] == 3 else picture
    height, width = picture.shape[:2]
    figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi)
    figure.figimage(picture, resize=False)
    return figure
