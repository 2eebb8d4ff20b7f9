"""Normalisers and means of a softmax, with their gradients, by torch's kernel and in parts."""

import pytest
import torch
from devices import DEVICES
from torch.nn import functional as F

from dense_ssl.losses import attention_kernels
from dense_ssl.losses import log_sum_exp as module
from dense_ssl.losses.candidates import lowest
from dense_ssl.losses.log_sum_exp import log_sum_exp, softmax_mean

G, N, K, D = 2, 7, 9, 5
# None: torch's kernel on CPUs; 4 * G * K: parts of four rows; a large number: all at once
LIMITS = [None, 4 * G * K, 10**6]


def draw(device="cpu", dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = 3 * torch.randn(G, N, D, dtype=dtype, generator=generator)
    candidates = torch.randn(G, K, D, dtype=dtype, generator=generator)
    usable = torch.rand(G, K, generator=generator) < 0.6
    return rows.to(device), candidates.to(device), usable.to(device)


def literal(rows, candidates, usable=None):
    sums = []
    for g in range(len(rows)):
        kept = candidates[g] if usable is None else candidates[g][usable[g]]
        products = rows[g] @ kept.T
        sums.append(products.exp().sum(dim=1).log())
    return torch.stack(sums)


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("device", DEVICES)
def test_values_and_gradients_are_those_of_the_formula(device, masked, limit):
    rows, candidates, usable = draw(device)
    usable = usable if masked else None
    weights = torch.randn(G, N, dtype=torch.float64, device=device)
    results = []
    for function in (literal, lambda *x: log_sum_exp(*x, max_entries=limit)):
        leaves = [x.clone().requires_grad_() for x in (rows, candidates)]
        sums = function(*leaves, usable)
        results.append((sums, *torch.autograd.grad((sums * weights).sum(), leaves)))
    for expected, found in zip(*results):
        assert torch.allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("limit", LIMITS)
def test_gradcheck(limit):
    rows, candidates, usable = draw()
    leaves = rows.requires_grad_(), candidates.requires_grad_()
    assert torch.autograd.gradcheck(lambda *x: log_sum_exp(*x, usable, max_entries=limit), leaves)


@pytest.mark.parametrize("limit", LIMITS)
def test_columns_of_any_layout(limit):
    rows, candidates, _ = draw()
    across = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (rows, candidates)]
    assert across[0].stride(2) != 1
    found = log_sum_exp(*across, max_entries=limit)
    assert torch.allclose(found, literal(rows, candidates), atol=1e-12)


@pytest.mark.parametrize("limit", LIMITS)
def test_large_logits_do_not_overflow(limit):
    rows = torch.tensor([[[1000.0], [-1000.0]]])
    found = log_sum_exp(rows, torch.tensor([[[1.0], [-1.0], [0.5]]]), max_entries=limit)
    assert torch.allclose(found, torch.tensor([[1000.0, 1000.0]]))


@pytest.mark.parametrize("limit", LIMITS)
def test_a_group_without_candidates_takes_no_part(limit):
    rows, candidates, usable = draw()
    usable[0] = False
    rows.requires_grad_()
    sums = log_sum_exp(rows, candidates, usable, max_entries=limit)
    assert (sums[0] < 0.9 * lowest(rows)).all() and sums.isfinite().all()
    (sums * torch.tensor([[0.0], [1.0]])).sum().backward()
    assert (rows.grad[0] == 0).all() and rows.grad.isfinite().all()


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("n, k", [(0, K), (N, 0), (0, 0)])
def test_nothing_to_compare(n, k, limit):
    rows = torch.randn(G, n, D, requires_grad=True)
    sums = log_sum_exp(rows, torch.randn(G, k, D), max_entries=limit)
    assert sums.shape == (G, n) and (k or (sums == -torch.inf).all())
    (sums.nan_to_num(neginf=0.0) * 0).sum().backward()
    assert rows.grad.shape == rows.shape


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("device", DEVICES)
def test_a_backward_pass_within_autocast_is_in_full_precision(device, limit):
    rows, candidates, usable = draw(device, torch.float32)
    results = []
    for enabled in (False, True):
        leaves = [x.clone().requires_grad_() for x in (rows, candidates)]
        sums = log_sum_exp(*leaves, usable, max_entries=limit)
        with torch.autocast(rows.device.type, torch.bfloat16, enabled=enabled):
            results.append(torch.autograd.grad(sums.sum(), leaves))
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_without_torchs_kernel(monkeypatch):
    rows, candidates, usable = draw()
    leaves = rows.requires_grad_(), candidates.requires_grad_()
    expected = log_sum_exp(*leaves, usable)
    expected = (expected, *torch.autograd.grad(expected.sum(), leaves))
    monkeypatch.setattr(module, "fused_softmax", lambda *_, **__: None)
    found = log_sum_exp(*leaves, usable)
    found = (found, *torch.autograd.grad(found.sum(), leaves))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found, expected))


def test_torch_has_the_kernels():
    # without them contrastive losses take twice as long
    assert attention_kernels._ON_CPU is not None and attention_kernels._ON_GPU is not None


# enough rows and candidates for a GPU's kernel, and no multiples of its blocks
LARGE = {"groups": (3, 1500, 1403, 64), "one group": (1, 4101, 4203, 128)}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", list(LARGE))
@pytest.mark.parametrize("device", DEVICES)
def test_torchs_kernel_is_as_exact_as_float32(monkeypatch, device, shape, masked):
    groups, n, k, dim = LARGE[shape]
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randn(groups, x, dim, generator=generator) for x in (n, k, n)]
    rows, candidates, weights = (F.normalize(x, dim=2) for x in draws)
    usable = torch.rand(groups, k, generator=generator) < 0.5 if masked else None
    if masked and groups > 1:
        usable[0] = False
    weights = weights[..., 0] * (1 if usable is None else usable.any(dim=1, keepdim=True))
    expected = _with_gradients(rows.double() / 0.1, candidates.double(), usable, weights.double())
    monkeypatch.setattr(module, "_in_parts", None)
    monkeypatch.setattr(module, "_logits", None)
    usable = None if usable is None else usable.to(device)
    tensors = [x.to(device) for x in (rows / 0.1, candidates)]
    found = _with_gradients(*tensors, usable, weights.to(device))
    for a, b in zip(found, expected):
        a, usual = a.cpu().double(), b > 0.9 * lowest(rows)
        assert (a - b)[usual].abs().max() < 2e-6 * max(b[usual].abs().max(), 1)
        assert (a[~usual] < 0.9 * lowest(rows)).all()


def _with_gradients(rows, candidates, usable, weights):
    leaves = rows.requires_grad_(), candidates.requires_grad_()
    sums = log_sum_exp(*leaves, usable)
    return (sums.detach(), *torch.autograd.grad((sums * weights).sum(), leaves))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("device", DEVICES)
def test_products_in_bfloat16(device, masked):
    generator = torch.Generator().manual_seed(0)
    rows, keys = (F.normalize(torch.randn(1, x, 128, generator=generator), dim=2)
                  for x in (4101, 4203))  # fmt: skip
    usable = (torch.rand(1, 4203, generator=generator) < 0.5).to(device) if masked else None
    weights, results = torch.ones(1, 4101, device=device), []
    for dtype in (torch.float32, torch.bfloat16):
        with attention_kernels.products_in(dtype):
            tensors = [(rows / 0.1).to(device), keys.to(device)]
            results.append(_with_gradients(*tensors, usable, weights))
    for a, b in zip(*results):
        assert b.dtype == torch.float32
        error = (a - b).abs().max() / a.abs().max()
        assert error == 0 if device == "cpu" else 1e-7 < error < 2e-2
    assert attention_kernels._products.get() == torch.float32


def test_an_installation_without_a_gpus_kernel(monkeypatch):
    rows, candidates, usable = draw(dtype=torch.float32)
    expected = log_sum_exp(rows, candidates, usable)

    def absent(*_, **__):
        raise RuntimeError("cutlassF: no kernel found to launch!")

    monkeypatch.setattr(attention_kernels, "_ON_CPU", None)
    monkeypatch.setattr(attention_kernels, "_ON_GPU", absent)
    monkeypatch.setattr(attention_kernels, "_suits_gpu", lambda *_: True)
    monkeypatch.setattr(attention_kernels, "_usable_type", lambda _: torch.float32)
    assert torch.allclose(log_sum_exp(rows, candidates, usable), expected, atol=1e-5)


def test_float32_is_exact_to_rounding():
    generator = torch.Generator().manual_seed(0)
    rows, queue = (F.normalize(torch.randn(1, x, 128, generator=generator), dim=2)
                   for x in (300, 5000))  # fmt: skip
    found = log_sum_exp(rows / 0.2, queue)
    assert found.dtype == torch.float32
    expected = literal(rows.double() / 0.2, queue.double())
    assert (found - expected).abs().max() < 5e-6


def test_only_the_gradients_that_are_asked_for():
    rows, candidates, _ = draw()
    candidates.requires_grad_()
    log_sum_exp(rows, candidates).sum().backward()
    assert rows.grad is None and candidates.grad is not None
    with torch.no_grad():
        assert not log_sum_exp(rows, candidates).requires_grad


def literal_mean(rows, candidates, values, usable, exclude_self):
    """Row by row: the softmax over the candidates that count, times their values."""
    means = []
    for g in range(len(rows)):
        kept = torch.ones(K, dtype=torch.bool) if usable is None else usable[g].cpu()
        for i in range(N):
            js = [j for j in range(K) if kept[j] and not (exclude_self and i == j)]
            means.append((rows[g, i] @ candidates[g, js].T).softmax(dim=0) @ values[g, js])
    return torch.stack(means).unflatten(0, (len(rows), N))


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("device", DEVICES)
def test_means_and_their_gradients_are_those_of_the_formula(device, masked, exclude_self, limit):
    rows, candidates, usable = draw(device)
    values = draw(device, seed=1)[1].requires_grad_()
    usable = usable if masked else None
    expected = literal_mean(rows, candidates, values, usable, exclude_self)
    options = {"exclude_self": exclude_self, "max_entries": limit}
    found = softmax_mean(rows, candidates, values, usable, **options)
    assert torch.allclose(found, expected, atol=1e-12)
    weights = torch.randn_like(found)
    results = [torch.autograd.grad((x * weights).sum(), values)[0] for x in (expected, found)]
    assert torch.allclose(*results, atol=1e-12)


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("device", DEVICES)
def test_a_row_leaves_its_own_candidate_out(device, limit):
    rows, candidates, usable = draw(device)
    leaves = rows.requires_grad_(), candidates.requires_grad_()
    options = {"exclude_self": True, "max_entries": limit}
    found = log_sum_exp(*leaves, usable, **options)
    for i in range(N):
        others = usable.clone()
        others[:, i] = False
        expected = literal(rows[:, i : i + 1], candidates, others)[:, 0]
        assert torch.allclose(found[:, i], expected, atol=1e-12)
    check = lambda *x: log_sum_exp(*x, usable, **options)  # noqa: E731
    assert torch.autograd.gradcheck(check, leaves)


def test_means_of_nothing():
    rows, candidates, _ = draw()
    nothing = candidates[:, :0]
    assert torch.equal(softmax_mean(rows, nothing, nothing), torch.zeros_like(rows))
    assert softmax_mean(rows[:, :0], candidates, candidates).shape == (G, 0, D)


def test_rows_and_candidates_of_a_mean_are_constants():
    rows, candidates, _ = draw()
    leaves = [x.clone().requires_grad_() for x in (rows, candidates, candidates)]
    softmax_mean(*leaves).sum().backward()
    assert leaves[0].grad is None and leaves[1].grad is None and leaves[2].grad is not None
