"""Queries and the images that are closest to them, as DUPR's Fig. 6 and 8."""

import cv2
from matplotlib.figure import Figure

from ..data.image_io import read_image

_CELL = 128  # pixels of a thumbnail


def draw_retrieval(found):
    """Draw a row per query: the query, then its neighbours by each backbone.

    A frame is green where the class of the neighbour is that of the query, and red where it is not.

    Args:
        found: {name: (:class:`~dense_ssl.analysis.embedding.Embedding`, queries (Q,), neighbours
            (Q, n), cosines (Q, n))}, with the same queries for all.

    Returns:
        matplotlib Figure.
    """
    embedding, queries, neighbours, _ = next(iter(found.values()))
    count = neighbours.shape[1]
    figure = Figure(figsize=(1.15 * (1 + len(found) * count), 1.25 * len(queries) + 0.4),
                    layout="constrained")  # fmt: skip
    parts = figure.subfigures(1, 1 + len(found), width_ratios=[1] + [count] * len(found))
    parts[0].suptitle("query", fontsize=9)
    axes = parts[0].subplots(len(queries), 1, squeeze=False)
    for axis, query in zip(axes[:, 0], queries):
        _show(axis, embedding.file_names[query], "")
    for part, (name, (embedding, queries, neighbours, cosines)) in zip(parts[1:], found.items()):
        part.suptitle(name, fontsize=9)
        axes = part.subplots(len(queries), count, squeeze=False)
        for row, query in enumerate(queries):
            for axis, index, cosine in zip(axes[row], neighbours[row], cosines[row]):
                if index < 0:
                    axis.set_axis_off()
                    continue
                classes = embedding.classes[[query, index]]
                colour = "0.7"
                if classes.min() >= 0:
                    colour = "tab:green" if classes[0] == classes[1] else "tab:red"
                _show(axis, embedding.file_names[index], f"{cosine:.2f}", colour)
    return figure


def _show(axis, path, text, colour="0.7"):
    image = cv2.resize(read_image(path), (_CELL, _CELL), interpolation=cv2.INTER_AREA)
    axis.imshow(image)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set(color=colour, linewidth=2)
    axis.set_xlabel(text, fontsize=7, labelpad=1)
