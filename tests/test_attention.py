"""Flash attention: forward and backward against PyTorch in double precision, and against the composite."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import flambeau
from flambeau.autograd import gradcheck, gradgradcheck
from flambeau.ops import attention

torch = pytest.importorskip("torch")

SHAPES = [  # batch, heads of queries, of keys, queries, keys, features, features of values
    (1, 1, 1, 5, 7, 3, 4),
    (2, 3, 3, 64, 64, 32, 32),
    (1, 4, 2, 130, 300, 64, 80),
    (2, 2, 1, 33, 17, 16, 16),
    (1, 2, 2, 300, 113, 128, 64),
]
TOLERANCE = {"float32": 5e-6, "float64": 1e-14, "bfloat16": 2e-2, "float16": 4e-3}
sdpa = flambeau.nn.functional.scaled_dot_product_attention


def ours(t):
    if t is None:
        return None
    if t.dtype is torch.bfloat16:
        return flambeau.from_numpy(t.float().numpy()).to(flambeau.bfloat16)
    return flambeau.from_numpy(t.numpy().copy())


def operands(shape, dtype, mask):
    torch.manual_seed(hash(shape) % 1000)
    b, h, hk, l, s, e, d = shape
    made = [torch.randn(b, n, x, y).to(dtype) for n, x, y in ((h, l, e), (hk, s, e), (hk, s, d), (h, l, d))]
    if mask == "bool":
        taken = torch.rand(b, 1, l, s) > 0.3
        taken[..., 0] = True
        return *made, taken
    return *made, torch.randn(l, s).to(dtype) if mask == "float" else None


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("mask", [None, "bool", "float", "causal"])
def test_values_and_gradients(dtype, mask):
    for shape in SHAPES if dtype == "float32" else SHAPES[:3]:
        q, k, v, g, m = operands(shape, getattr(torch, dtype), mask)
        exact = [t.double().requires_grad_() for t in (q.clone(), k.clone(), v.clone())]
        exact = [t.detach().clone().requires_grad_() for t in exact]
        wide = m.double() if mask == "float" else m
        expected = torch.nn.functional.scaled_dot_product_attention(
            *exact, wide, is_causal=mask == "causal", enable_gqa=True
        )
        expected.backward(g.double())
        leaves = [ours(t).requires_grad_() for t in (q, k, v)]
        found = sdpa(*leaves, ours(m), is_causal=mask == "causal", enable_gqa=True)
        assert type(found.grad_fn).__name__.startswith("FlashAttention"), found.grad_fn
        found.backward(ours(g))
        pairs = [(found, expected), *((x.grad, y.grad) for x, y in zip(leaves, exact, strict=True))]
        for x, y in pairs:
            assert x.dtype is leaves[0].dtype
            y = y.detach().numpy()
            error = np.abs(x.detach().double().numpy() - y).max() / max(1, np.abs(y).max())
            assert error < TOLERANCE[dtype], (shape, mask, error)


def test_any_strides_and_dimensions():
    x = flambeau.randn(2, 37, 3 * 4 * 20)
    q, k, v = (t.reshape(2, 37, 4, 20).transpose(1, 2) for t in x.split(80, -1))
    plain = [t.contiguous() for t in (q, k, v)]
    assert flambeau.equal(sdpa(q, k, v), sdpa(*plain))
    q2, k2, v2 = (flambeau.randn(40, 9, 2, 3).permute(3, 2, 1, 0)[::2, :, 1:] for _ in range(3))
    plain = [t.contiguous() for t in (q2, k2, v2)]
    assert flambeau.equal(sdpa(q2, k2, v2), sdpa(*plain))
    five = [x.reshape(1, 2, 2, *x.shape[2:])[:, :1] for x in plain]
    for t in ([x[0, 0] for x in plain], [x[0] for x in plain], five):
        found, expected = sdpa(*t), sdpa(*(y.reshape(-1, 1, *y.shape[-2:]) for y in t))
        assert found.shape == t[0].shape
        assert flambeau.equal(found.reshape(expected.shape), expected)
    # heads lie side by side, so that joining them again is a view
    assert sdpa(q, k, v).transpose(1, 2).is_contiguous()


def test_number_of_threads_does_not_matter():
    before = flambeau.get_num_threads()
    q, k, v, g = (flambeau.randn(2, 3, 150, 40) for _ in range(4))
    results = []
    try:
        for threads in (1, 2, 3):
            flambeau.set_num_threads(threads)
            leaves = [t.clone().requires_grad_() for t in (q, k, v)]
            found = sdpa(*leaves, is_causal=True)
            found.backward(g)
            results.append([found.detach(), *(t.grad for t in leaves)])
    finally:
        flambeau.set_num_threads(before)
    for other in results[1:]:
        assert all(flambeau.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_queries_without_keys_are_zero():
    q, k, v = (flambeau.randn(1, 2, 20, 8).requires_grad_() for _ in range(3))
    mask = flambeau.ones(20, 20, dtype=flambeau.bool)
    mask[3] = False
    mask[7, :15] = False
    for m in (mask, flambeau.zeros(20, 20).masked_fill(~mask, -math.inf)):
        found = sdpa(q, k, v, m)
        assert bool((found[:, :, 3] == 0).all()) and bool(found.isfinite().all())
        grads = flambeau.autograd.grad(found.sum(), (q, k, v))
        assert all(bool(t.isfinite().all()) for t in grads)
        assert bool((grads[0][:, :, 3] == 0).all())


def test_infinities_and_nan_stay_where_they_are():
    q, k, v = (flambeau.randn(1, 1, 40, 8) for _ in range(3))
    q[0, 0, 5, 2] = math.nan
    k[0, 0, 30, 1] = 1e30
    found = sdpa(q, k, v, is_causal=True)
    assert bool(found[0, 0, 5].isnan().all())
    expected = attention._composite(q, k, v, None, 0.0, True, 1 / math.sqrt(8))
    assert np.allclose(found.numpy(), expected.numpy(), rtol=1e-4, atol=1e-5, equal_nan=True)


def test_scale_and_large_scores():
    q, k, v = (flambeau.randn(2, 2, 50, 16, dtype=flambeau.float64) for _ in range(3))
    for scale in (0.0, -0.3, 40.0):
        found = sdpa(q, k, v, scale=scale)
        weights = ((q @ k.transpose(-2, -1)) * scale).softmax(-1)
        assert np.allclose(found.numpy(), (weights @ v).numpy(), rtol=1e-12, atol=1e-12)


def test_dropout_draws_as_the_composite():
    q, k, v, g = (flambeau.randn(2, 3, 33, 16, dtype=flambeau.float64) for _ in range(4))
    results = []
    for way in (sdpa, lambda q, k, v, p: _composite(q, k, v, p)):
        leaves = [t.clone().requires_grad_() for t in (q, k, v)]
        flambeau.manual_seed(5)
        if way is sdpa:
            found = sdpa(*leaves, dropout_p=0.3)
        else:
            found = way(*leaves, 0.3)
        found.backward(g)
        results.append([found.detach(), *(t.grad for t in leaves), flambeau.rand(3)])
    for a, b in zip(*results, strict=True):
        assert np.allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-12)


def _composite(q, k, v, p):
    return attention._composite(q, k, v, None, p, False, 1 / math.sqrt(q.shape[-1]))


def test_second_derivatives():
    q, k, v = (flambeau.randn(1, 2, 6, 3, dtype=flambeau.float64).requires_grad_() for _ in range(3))
    mask = flambeau.rand(6, 6) > 0.2
    mask[:, 0] = True
    for m, causal in itertools.product((None, mask), (False, True)):
        if m is None or not causal:
            assert gradcheck(lambda *t, m=m, c=causal: sdpa(*t, m, is_causal=c), (q, k, v))
            assert gradgradcheck(lambda *t, m=m, c=causal: sdpa(*t, m, is_causal=c), (q, k, v))
    shared = [t[:, :1].detach().requires_grad_() for t in (k, v)]
    assert gradgradcheck(lambda *t: sdpa(*t, enable_gqa=True), (q, *shared))


def test_in_a_deferred_graph():
    q, k, v = (flambeau.randn(2, 2, 24, 8) for _ in range(3))

    def step(q, k, v):
        return (sdpa(q * 2, k, v, is_causal=True) ** 2).sum()

    eager = [t.clone().requires_grad_() for t in (q, k, v)]
    step(*eager).backward()
    deferred = [t.clone().requires_grad_() for t in (q, k, v)]
    flambeau.compile(step)(*deferred).backward()
    for a, b in zip(eager, deferred, strict=True):
        assert np.allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_few_queries_and_masks_with_gradients_take_operators():
    q, k, v = flambeau.randn(2, 2, 1, 8), flambeau.randn(2, 2, 30, 8), flambeau.randn(2, 2, 30, 8)
    weights = ((q @ k.transpose(-2, -1)) / math.sqrt(8)).softmax(-1)
    assert np.allclose(sdpa(q, k, v).numpy(), (weights @ v).numpy(), rtol=1e-5, atol=1e-6)
    q = flambeau.randn(2, 2, 10, 8)
    bias = flambeau.randn(10, 30).requires_grad_()
    sdpa(q, k, v, bias).sum().backward()
    assert bias.grad is not None and bias.grad.shape == (10, 30)
    meta = flambeau.empty(2, 2, 10, 8, device="meta")
    assert sdpa(meta, meta, meta).shape == (2, 2, 10, 8)


def test_over_a_batch_and_in_forward_mode():
    q, k, v, t = (flambeau.randn(3, 2, 2, 10, 4, dtype=flambeau.float64) for _ in range(4))
    found = flambeau.func.vmap(lambda a, b: sdpa(a, k[0], b, is_causal=True))(q, v)
    for i in range(3):
        assert np.allclose(found[i].numpy(), sdpa(q[i], k[0], v[i], is_causal=True).numpy())
    loss = flambeau.func.grad(lambda a, b: sdpa(a, k[0], b).sin().sum(), argnums=(0, 1))
    each = flambeau.func.vmap(loss)(q, v)
    for i in range(3):
        for x, y in zip(each, loss(q[i], v[i]), strict=True):
            assert np.allclose(x[i].numpy(), y.numpy())
    _, change = flambeau.func.jvp(lambda a: sdpa(a, k[0], v[0]), (q[0],), (t[0],))
    e = 1e-6
    numeric = (sdpa(q[0] + e * t[0], k[0], v[0]) - sdpa(q[0] - e * t[0], k[0], v[0])) / (2 * e)
    assert np.allclose(change.numpy(), numeric.numpy(), atol=1e-7)
