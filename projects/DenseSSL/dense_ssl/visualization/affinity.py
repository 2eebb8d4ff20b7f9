"""Affinity matrices of an object in two views, as DUPR's Fig. 9."""

import numpy as np
from matplotlib.figure import Figure

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
    columns = 2 + len(examples)
    figure = Figure(figsize=(2.3 * columns, 2.5 * len(first) + 0.4), layout="constrained")
    axes = figure.subplots(len(first), columns, squeeze=False)
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
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_xlabel(
                f"cells of view 2; trace {np.trace(matrix) / len(matrix):.2f}", fontsize=8
            )
            axis.set_ylabel("cells of view 1", fontsize=8)
    for axis, title in zip(axes[0], ["view 1", "view 2", *examples]):
        axis.set_title(title, fontsize=9)
    return figure
