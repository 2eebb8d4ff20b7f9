"""Where the cells of a map lie."""

import math

import pytest
import torch
from oracles import DISJOINT, SIDE, N, make_views

from dense_ssl.modeling.geometry.cells import (
    cell_centres,
    cell_centres_in_image,
    cell_diagonals,
    squares_around,
)
from dense_ssl.modeling.geometry.correspondence import close_cells
from dense_ssl.structures import Views


def test_centres_and_diagonals_by_hand():
    affine = torch.tensor([[0.5, 1.0, 2.0, -4.0], [-1.0, 8.0, 1.0, 0.0]], dtype=torch.float64)
    view = Views(torch.zeros(2, 3, 8, 12), affine)
    centres = cell_centres(view, (2, 3))  # cells of 4 x 4 pixels
    assert centres[0].tolist() == [[2, 2], [6, 2], [10, 2], [2, 6], [6, 6], [10, 6]]
    assert torch.equal(centres[0], centres[1])
    in_image = cell_centres_in_image(view, (2, 3))
    assert in_image[0, 0].tolist() == [2, 3]  # (2 - 1) / 0.5, (2 + 4) / 2
    assert in_image[1, 0].tolist() == [6, 2]  # flipped
    assert cell_diagonals(view, (2, 3)).tolist() == pytest.approx(
        [math.hypot(8, 2), math.hypot(4, 4)]
    )


def test_close_cells_are_those_of_a_loop():
    views = make_views(3, {1: DISJOINT})
    got = close_cells(*views, (4, 4), (3, 5), 0.7)
    assert got.shape == (N, 16, 15) and got.any() and not got[1].any()
    centres = [cell_centres_in_image(v, s) for v, s in zip(views, ((4, 4), (3, 5)))]
    diagonals = [cell_diagonals(v, s) for v, s in zip(views, ((4, 4), (3, 5)))]
    for row in range(N):
        largest = max(float(x[row]) for x in diagonals)
        for i, p in enumerate(centres[0][row].tolist()):
            for j, q in enumerate(centres[1][row].tolist()):
                assert got[row, i, j] == (math.dist(p, q) / largest <= 0.7)


def test_of_one_view_each_cell_is_close_to_itself_alone():
    view = make_views()[0]
    assert torch.equal(close_cells(view, view, (4, 4), (4, 4), 0.5),
                       torch.eye(16, dtype=torch.bool).expand(N, 16, 16))  # fmt: skip


def test_squares_are_centred_and_empty_where_nothing_is_shown():
    points = torch.tensor([[[10.0, 20.0], [30.0, 40.0]]])
    squares = squares_around(points, torch.tensor([[True, False]]), (SIDE, SIDE))
    assert torch.allclose((squares[0, 0, :2] + squares[0, 0, 2:]) / 2, points[0, 0])
    assert not squares[0, 1].any()
