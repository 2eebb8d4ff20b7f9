"""Which cells of two views belong together, and the shares that the log reports, against loops."""

import pytest
import torch
from oracles import DISJOINT, SIDE, N, make_views
from torch.nn import functional as F

from dense_ssl.modeling.geometry.correspondence import (
    corresponding_points,
    nearest_cells,
    share_found,
    share_transported,
)

H, W = 5, 4  # of the first map
H2, W2 = 3, 6  # of the second


@pytest.fixture
def views():
    return make_views(1)


def loop(first, second):
    """{(image, cell of the first view): cell of the second that shows the same place}."""
    found = {}
    for n in range(N):
        (ax, bx, ay, by), (cx, dx, cy, dy) = first.affine[n].tolist(), second.affine[n].tolist()
        for row in range(H):
            for column in range(W):
                x = cx * ((column + 0.5) * SIDE / W - bx) / ax + dx
                y = cy * ((row + 0.5) * SIDE / H - by) / ay + dy
                if 0 <= x < SIDE and 0 <= y < SIDE:
                    cell = int(y * H2 / SIDE) * W2 + int(x * W2 / SIDE)
                    found[n, row * W + column] = cell
    return found


def test_cells_lie_where_the_geometry_says(views):
    points, valid = corresponding_points(*views, (H, W), (H2, W2))
    cells, expected = nearest_cells(points, (H2, W2)), loop(*views)
    assert {(n, c) for n, c in valid.nonzero().tolist()} == set(expected)
    assert 0 < len(expected) < N * H * W
    assert all(cells[key].item() == cell for key, cell in expected.items())


def test_a_view_lies_on_itself(views):
    points, valid = corresponding_points(views[0], views[0], (4, 4), (4, 4))
    y, x = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    expected = torch.stack([x, y], -1).view(16, 2).double()
    assert valid.all() and torch.allclose(points, expected.expand(N, -1, -1), atol=1e-9)
    assert torch.equal(nearest_cells(points, (4, 4)), torch.arange(16).expand(N, -1))


def test_share_found_is_that_of_a_loop(views):
    torch.manual_seed(0)
    anchors, candidates = torch.randn(N, 3, H, W).double(), torch.randn(N, 3, H2, W2).double()
    points, valid = corresponding_points(*views, (H, W), (H2, W2))
    hits = []
    for (n, cell), right in loop(*views).items():
        cosines = F.cosine_similarity(anchors[n].flatten(1)[:, cell, None], candidates[n].flatten(1), dim=0)  # noqa: E501  # fmt: skip
        hits.append(cosines.argmax().item() == right)
    assert share_found(anchors, candidates, points, valid).item() == pytest.approx(
        sum(hits) / len(hits)
    )


def test_share_transported_is_that_of_a_loop(views):
    torch.manual_seed(0)
    plan = torch.rand(N, H * W, H2 * W2).double()
    plan = plan / plan.sum(dim=(1, 2), keepdim=True)
    points, valid = corresponding_points(*views, (H, W), (H2, W2))
    expected = loop(*views)
    total = sum(plan[n, cell].sum() for n, cell in expected)
    arrived = sum(plan[n, cell, right] for (n, cell), right in expected.items())
    chance = sum(
        plan[n, cell].sum() * plan[n, :, right].sum() for (n, cell), right in expected.items()
    )
    shares = share_transported(plan, points, valid, (H2, W2))
    assert shares[0].item() == pytest.approx((arrived / total).item())
    assert shares[1].item() == pytest.approx((chance / total).item())


def test_what_is_right_arrives_and_what_is_spread_does_not(views):
    points, valid = corresponding_points(views[0], views[0], (4, 4), (4, 4))
    right = torch.eye(16).double().expand(N, -1, -1) / 16
    spread = torch.full((N, 16, 16), 1 / 256, dtype=torch.float64)
    assert [x.item() for x in share_transported(right, points, valid, (4, 4))] == [1, 1 / 16]
    assert [x.item() for x in share_transported(spread, points, valid, (4, 4))] == [1 / 16, 1 / 16]
    maps = torch.randn(N, 20, 4, 4).double()
    assert share_found(maps, maps, points, valid) == 1


def test_views_without_a_common_place_have_no_share():
    views = make_views(0, dict.fromkeys(range(N), DISJOINT))
    points, valid = corresponding_points(*views, (H, W), (H2, W2))
    assert not valid.any()
    maps = torch.randn(N, 2, H, W), torch.randn(N, 2, H2, W2)
    assert share_found(*maps, points, valid).isnan()


@pytest.mark.parametrize("points, cells, expected", [
    ([[-0.5, -0.4], [2.4, 0.4], [2.6, 1.2]], (2, 3), [0, 2, 5]),
])  # fmt: skip
def test_points_at_the_border_belong_to_the_outermost_cells(points, cells, expected):
    assert nearest_cells(torch.tensor([points]), cells).tolist() == [expected]
