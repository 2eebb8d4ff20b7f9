"""A sheet of queries and their nearest neighbours."""

import os

import cv2
import numpy as np

from ..data.image_io import read_image
from ..utils.picture_files import write_picture
from .captions import draw_captions
from .colours import class_colours

_CELL, _GAP = 160, 6
_GREY = (90, 90, 90)


def draw_neighbours(embedding, queries, neighbours, cosines, path):
    """Write a sheet: a row for each query, the query first, then its neighbours.

    Args:
        embedding: :class:`~dense_ssl.analysis.embedding.Embedding`.
        queries: (Q,) indices.
        neighbours, cosines: (Q, n), result of :func:`~dense_ssl.analysis.embedding.nearest`.
        path: PNG file to write.
    """
    colours = class_colours(len(embedding.class_names))
    step = _CELL + _GAP
    size = (len(queries) * step + _GAP, (1 + neighbours.shape[1]) * step + 2 * _GAP, 3)
    sheet = np.full(size, 255, np.uint8)
    for row, query in enumerate(queries):
        cells = [
            (query, "query"),
            *((i, f"{c:.3f}") for i, c in zip(neighbours[row], cosines[row])),
        ]
        for column, (index, text) in enumerate(cells):
            if index < 0:
                continue
            number = embedding.classes[index]
            colour = colours[number] if number >= 0 else _GREY
            if number >= 0:
                text = f"{embedding.class_names[number]} {text}"
            cell = _cell(embedding, index, text, colour)
            y, x = _GAP + row * step, _GAP + column * step + (_GAP if column else 0)
            sheet[y : y + _CELL, x : x + _CELL] = cell
    write_picture(path, sheet[:, :, ::-1])


def _cell(embedding, index, text, colour):
    """Return (_CELL, _CELL, 3): an image or a box, on grey, with its class's colour around it."""
    image = read_image(os.path.join(embedding.root, embedding.file_names[index]))
    height, width = image.shape[:2]
    x1, y1, x2, y2 = embedding.boxes[index]
    left, right = (int(np.clip(x, 0, width)) for x in (np.floor(x1), np.ceil(x2)))
    top, bottom = (int(np.clip(y, 0, height)) for y in (np.floor(y1), np.ceil(y2)))
    part = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    scale = (_CELL - 4) / max(part.shape[:2])
    size = [max(round(x * scale), 1) for x in part.shape[1::-1]]
    part = cv2.resize(part, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    cell = np.full((_CELL, _CELL, 3), 230, np.uint8)
    y, x = (_CELL - part.shape[0]) // 2, (_CELL - part.shape[1]) // 2
    cell[y : y + part.shape[0], x : x + part.shape[1]] = part
    cv2.rectangle(cell, (0, 0), (_CELL - 1, _CELL - 1), colour, 2)
    return draw_captions(cell, [(text, colour, (2, _CELL, _CELL - 2, _CELL))], 12)
