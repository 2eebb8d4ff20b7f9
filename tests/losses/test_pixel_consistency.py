import pytest
import torch
from torch.nn import functional as F

from dense_ssl.losses import pixel_consistency

N, P, Q, D = 3, 4, 5, 6


def vectors(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pairs(seed=0):
    """Pairs of all images but the second."""
    positive = vectors(N, P, Q, seed=seed) > 0.5
    positive[1] = False
    return positive


def test_agrees_with_the_literal_equation():
    """Eq. 5 of PixPro, one term: means over the pairs of an image, then over images."""
    prediction, target, positive = vectors(N, P, D), vectors(N, Q, D, seed=1), pairs()
    images = []
    for y, x, related in zip(prediction, target, positive):
        terms = [
            -(y[i] @ x[j] / (y[i].norm() * x[j].norm())).item()
            for i in range(P) for j in range(Q) if related[i, j]
        ]  # fmt: skip
        if terms:
            images.append(sum(terms) / len(terms))
    got = pixel_consistency(prediction, target, positive)
    assert len(images) == 2
    assert got.item() == pytest.approx(sum(images) / len(images), abs=1e-12)


def test_range_and_symmetry():
    x, positive = vectors(N, P, D), torch.eye(P, dtype=torch.bool).expand(N, P, P)
    assert pixel_consistency(x, 3 * x, positive).item() == pytest.approx(-1)
    assert pixel_consistency(x, -x, positive).item() == pytest.approx(1)
    other, positive = vectors(N, Q, D, seed=1), pairs()
    there, back = positive, positive.transpose(1, 2)
    assert torch.allclose(
        pixel_consistency(x, other, there), pixel_consistency(other, x, back), atol=1e-12
    )


def test_order_of_images_and_cells_does_not_matter():
    x, y, positive = vectors(N, P, D), vectors(N, Q, D, seed=1), pairs()
    assert torch.allclose(
        pixel_consistency(x, y, positive),
        pixel_consistency(x.flip(0, 1), y.flip(0), positive.flip(0, 1)),
        atol=1e-12,
    )


def test_gradient():
    x, y, positive = vectors(N, P, D).requires_grad_(), vectors(N, Q, D, seed=1), pairs()
    assert torch.autograd.gradcheck(lambda x: pixel_consistency(x, y, positive), (x,))


@pytest.mark.parametrize("count", [0, 2])
def test_without_a_pair_a_zero_that_keeps_the_graph(count):
    x = torch.randn(count, P, D, requires_grad=True)
    none = torch.zeros(count, P, Q, dtype=torch.bool)
    loss = pixel_consistency(x, torch.randn(count, Q, D), none)
    loss.backward()
    assert loss.item() == 0 and x.grad.shape == x.shape and not x.grad.any()


def test_computed_in_float32():
    x, y, positive = vectors(N, P, D).bfloat16(), vectors(N, Q, D, seed=1).bfloat16(), pairs()
    with torch.autocast("cpu", torch.bfloat16):
        got = pixel_consistency(x, y, positive)
    assert got.dtype == torch.float32
    assert torch.allclose(got, pixel_consistency(x.float(), y.float(), positive))


def test_twenty_steps_lower_it():
    x, y, positive = vectors(N, P, D).requires_grad_(), vectors(N, Q, D, seed=1), pairs()
    first = pixel_consistency(x, y, positive).item()
    optimizer = torch.optim.SGD([x], lr=1.0)
    for _ in range(20):
        optimizer.zero_grad()
        pixel_consistency(x, y, positive).backward()
        optimizer.step()
    assert pixel_consistency(x, y, positive).item() < first - 0.2
    assert F.cosine_similarity(x, x).mean() > 0  # still finite
