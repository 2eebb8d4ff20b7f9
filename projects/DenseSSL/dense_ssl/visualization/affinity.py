"""Affinity matrices of an object in two views, as DUPR's Fig. 9."""

import numpy as np

from .canvas import image_grid
from .sensitivity import outline


def draw_affinity_matrices(examples):
    """Draw two views with their box, and the matrix of each backbone; a row per object.

    Args:
        examples: {name: list of (pair of :class:`~dense_ssl.analysis.views.View`, box in image
            pixels, affinity matrix)}, of the same views for all.

    Returns:
        matplotlib Figure.
    """
    first = next(iter(examples.values()))
    figure, axes = image_grid(len(first), ["view 1", "view 2", *examples])
    for row, (pair, box, _) in enumerate(first):
        for axis, view in zip(axes[row], pair):
            axis.imshow(view.pixels)
            axis.set_axis_off()
            corners = view.views.affine.new_tensor(box)[None, None]
            outline(axis, view.views.boxes_to_view(corners)[0, 0].tolist(), "tab:green")
        for axis, others in zip(axes[row, 2:], examples.values()):
            matrix = others[row][2]
            # single bright pixels vanish when 196 cells are drawn in as many pixels
            axis.imshow(np.sqrt(matrix), cmap="magma", vmin=0, vmax=1, interpolation="nearest")
            axis.set_xlabel(
                f"cells of view 2; trace {np.trace(matrix) / len(matrix):.2f}", fontsize=8
            )
            axis.set_ylabel("cells of view 1", fontsize=8)
    return figure
