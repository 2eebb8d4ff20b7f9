"""Slow, literal pieces that the tests of several methods share."""

import math

import numpy as np
import torch

from dense_ssl.data.views.crops import crop_affine, draw_crop
from dense_ssl.modeling.passes import Passes
from dense_ssl.structures import Views

N, SIDE, STRIDE = 5, 64, 16
CELLS = SIDE // STRIDE
# shifts of the second view against the first that leave no, or too little, overlap
DISJOINT, NARROW = -200.0, -50.0


class GivenPasses(Passes):
    """Base of passes whose maps are given by its subclass; heads run as in the real ones."""

    def __init__(self, concatenate=False, views=None):
        """``concatenate``: join ``views`` of one size in the heads."""
        self._concatenate = concatenate
        self._views = views


class MapsOfViews(GivenPasses):
    """Random maps "res5" of three views, the third of fewer cells; ``maps[role][view]``."""

    channels, cells = 6, 7

    def __init__(self, seed, sides=(cells, cells, 4), **options):
        super().__init__(**options)
        generator = torch.Generator().manual_seed(seed)
        self.maps = [
            [
                torch.randn(N, self.channels, x, x, generator=generator, dtype=torch.float64)
                for x in sides
            ]
            for _ in range(2)
        ]

    def online(self, view):
        return {"res5": self.maps[0][view]}

    def target(self, view):
        return {"res5": self.maps[1][view]}


def make_views(seed=0, shifts=()):
    """Two views of N images, some flipped; ``shifts``: {row: shift of its second view}."""
    rng = np.random.default_rng(seed)
    affines = torch.empty(2, N, 4, dtype=torch.float64)
    for i in range(N):
        for v in range(2):
            crop = draw_crop(rng, 200, 150, (0.5, 1.0), (3 / 4, 4 / 3))
            affines[v, i] = torch.from_numpy(crop_affine(crop, SIDE, (i + v) % 3 == 0))
    for i, shift in dict(shifts).items():
        affines[:, i] = torch.tensor([[1.0, 0.0, 1.0, 0.0], [1.0, shift, 1.0, 0.0]])
    images, seeds = torch.zeros(N, 3, SIDE, SIDE), torch.arange(N) + 100 * seed
    return [Views(images, x, seeds) for x in affines]


def distance(p, t):
    """Eq. 2 of both papers for one pair: the squared distance of the normalised vectors."""
    return ((p / (p**2).sum() ** 0.5 - t / (t**2).sum() ** 0.5) ** 2).sum().item()


def read(feature_map, y, x):
    """Bilinear reading at continuous cell indices, held at the border, 0 a cell beyond it."""
    sides = feature_map.shape[1:]
    if not (-1 <= y <= sides[0] and -1 <= x <= sides[1]):
        return torch.zeros(len(feature_map), dtype=torch.float64)
    low, share = [], []
    for value, side in zip((y, x), sides):
        value = min(max(value, 0.0), side - 1.0)
        low.append(min(int(value), side - 2))
        share.append(value - low[-1])
    (y0, x0), (b, a) = low, share
    top = feature_map[:, y0, x0] * (1 - a) + feature_map[:, y0, x0 + 1] * a
    bottom = feature_map[:, y0 + 1, x0] * (1 - a) + feature_map[:, y0 + 1, x0 + 1] * a
    return top * (1 - b) + bottom * b


def literal_align(feature_map, box, aligned, stride=STRIDE):
    """1 x 1 RoIAlign of one box (x1, y1, x2, y2) in view pixels, with adaptive sampling."""
    x1, y1, x2, y2 = (value / stride - (0.5 if aligned else 0.0) for value in box)
    width, height = x2 - x1, y2 - y1
    if not aligned:
        width, height = max(width, 1.0), max(height, 1.0)
    columns, rows = math.ceil(width), math.ceil(height)
    values = [
        read(feature_map, y1 + (i + 0.5) * height / rows, x1 + (j + 0.5) * width / columns)
        for i in range(rows)
        for j in range(columns)
    ]
    return sum(values) / len(values) if values else feature_map[:, 0, 0] * 0  # a box without area


def literal_box(view, row, box):
    """One box of the image in the pixels of a view, cut to the view."""
    sx, tx, sy, ty = view.affine[row].tolist()
    xs = sorted((sx * box[0] + tx, sx * box[2] + tx))
    ys = sorted((sy * box[1] + ty, sy * box[3] + ty))
    return [min(max(value, 0.0), SIDE) for value in (xs[0], ys[0], xs[1], ys[1])]
