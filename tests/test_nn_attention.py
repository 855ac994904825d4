"""nn.attention: backends, causal biases, flexible attention, sequences of unequal length; compared with PyTorch."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
from nn_reference import check, torch

import flambeau
from flambeau.nn import attention


def flex(p):
    return importlib.import_module(f"{p.__name__}.nn.attention.flex_attention")


def qkv(p, heads=(2, 2), lengths=(5, 7)):
    rng = np.random.default_rng(1)
    shapes = [(2, heads[0], lengths[0], 4), (2, heads[1], lengths[1], 4), (2, heads[1], lengths[1], 4)]
    return [p.from_numpy(rng.standard_normal(s).astype(np.float32)).requires_grad_() for s in shapes]


def test_sdpa_kernel():
    backend = attention.SDPBackend
    assert [b.value for b in (backend.ERROR, backend.MATH, backend.OVERRIDEABLE)] == [-1, 0, 4]
    before = attention._cur_sdpa_kernel_backends()
    with attention.sdpa_kernel([backend.MATH, backend.FLASH_ATTENTION]):
        assert attention._cur_sdpa_kernel_backends() == [backend.FLASH_ATTENTION, backend.MATH]
        with attention.sdpa_kernel(backend.MATH):
            assert attention._cur_sdpa_kernel_backends() == [backend.MATH]
    assert attention._cur_sdpa_kernel_backends() == before
    with pytest.raises(AssertionError, match="must be an instance of SDPBackend"), attention.sdpa_kernel(3):
        pass


def test_causal_biases():
    def program(p):
        b = importlib.import_module(f"{p.__name__}.nn.attention.bias")
        q, k, v = qkv(p)
        masks = b.causal_lower_right(5, 7), b.causal_upper_left(5, 7)
        attend = p.nn.functional.scaled_dot_product_attention
        return [m._materialize() for m in masks], [attend(q, k, v, m._materialize()) for m in masks], repr(masks[0])

    check(program)
    check(lambda p: importlib.import_module(f"{p.__name__}.nn.attention.bias").causal_lower_right(2))


@pytest.mark.parametrize("size", [128, (64, 128), 32])
def test_block_masks(size):
    def program(p):
        f = flex(p)
        mask = f.create_block_mask(lambda b, h, q, k: q >= k, 1, 1, 256, 300, device="cpu", BLOCK_SIZE=size)
        every = f.create_block_mask(
            f.and_masks(f.noop_mask, lambda b, h, q, k: (q - k).abs() < 40 * (h + 1)), 2, 2, 200, 200, "cpu", size
        )
        parts = [getattr(mask, name) for name in mask._TENSOR_ATTRS[:1] + mask._TENSOR_ATTRS[2:3]]
        return (
            parts,
            [list(getattr(mask, name).shape) for name in mask._TENSOR_ATTRS[:8]],
            mask.to_dense(),
            mask.sparsity(),
            mask.numel(),
            list(mask.shape),
            repr(mask),
            every.to_dense(),
            every.sparsity(),
            list(every[1].shape),
            list(every[:, 1:].shape),
        )

    check(program)


def test_mask_functions():
    def program(p):
        f = flex(p)
        causal, near = (lambda b, h, q, k: q >= k), (lambda b, h, q, k: q - k < 2)
        masks = causal, f.and_masks(causal, near), f.or_masks(causal, near), f.noop_mask
        return [f.create_mask(m, 1, 1, 3, 4, device="cpu") for m in masks]

    check(program)
    check(lambda p: flex(p).and_masks(3))


def slopes(score, b, h, q, k):
    return score - (q - k).abs() * 0.1 * (h + 1)


@pytest.mark.parametrize("score_mod", [None, slopes], ids=["plain", "slopes"])
@pytest.mark.parametrize("masked", [False, True])
def test_flex_attention(score_mod, masked):
    q, k, v = qkv(flambeau, lengths=(6, 6))
    mask = flex(flambeau).create_block_mask(lambda b, h, i, j: i >= j, None, None, 6, 6) if masked else None
    output, lse = flex(flambeau).flex_attention(q, k, v, score_mod=score_mod, block_mask=mask, return_lse=True)
    (output * output).sum().backward()
    tq, tk, tv = qkv(torch, lengths=(6, 6))
    scores = tq @ tk.transpose(-1, -2) / 2
    if score_mod is not None:
        i, j = torch.arange(6)[:, None], torch.arange(6)
        scores = slopes(scores, 0, torch.arange(2)[:, None, None], i, j)
    if masked:
        scores = scores.masked_fill(~torch.ones(6, 6, dtype=torch.bool).tril(), -math.inf)
    expected = scores.softmax(-1) @ tv
    (expected * expected).sum().backward()
    np.testing.assert_allclose(output.detach().numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(lse.detach().numpy(), scores.logsumexp(-1).detach().numpy(), rtol=1e-5)
    for ours, theirs in zip((q, k, v), (tq, tk, tv)):
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-4, atol=1e-5)


def test_flex_attention_with_shared_heads_and_rows_that_see_nothing():
    q, k, v = qkv(flambeau, heads=(4, 2))
    f = flex(flambeau)
    mask = f.create_block_mask(lambda b, h, i, j: (i >= j) & (i != 2), None, None, 5, 7)
    output, aux = f.flex_attention(q, k, v, block_mask=mask, enable_gqa=True, return_aux=f.AuxRequest(True, True))
    assert output.shape == (2, 4, 5, 4) and aux.lse.shape == aux.max_scores.shape == (2, 4, 5)
    assert (output[:, :, 2] == 0).all() and aux.lse[0, 0, 2] == -math.inf
    np.testing.assert_allclose(output[:, 1, 0].detach().numpy(), v[:, 0, 0].detach().numpy(), rtol=1e-6)
    output.sum().backward()
    assert q.grad.isfinite().all()


@pytest.mark.parametrize(
    "call",
    [
        lambda f, q, k, v: f(q[0], k, v),
        lambda f, q, k, v: f(q[:, :1], k, v),
        lambda f, q, k, v: f(q, k[:, :1], v[:, :1]),
    ],
)
def test_flex_attention_errors(call):
    check(lambda p: call(flex(p).flex_attention, *(x.detach() for x in qkv(p, heads=(4, 2)))))


def test_flex_attention_refuses_what_does_not_broadcast():
    q, k, v = qkv(flambeau)
    table = flambeau.ones(2, 2, 5, 7)
    with pytest.raises(RuntimeError, match=r"table\[b, h\], not table\[b\]\[h\]"):
        flex(flambeau).flex_attention(q, k, v, score_mod=lambda s, b, h, i, j: s + table[b][..., i, j])
    mask = flex(flambeau).create_block_mask(lambda b, h, i, j: i >= j, None, None, 9, 7)
    with pytest.raises(ValueError, match="larger length"):
        flex(flambeau).flex_attention(q, k, v, block_mask=mask)


@pytest.mark.parametrize("window", [(-1, -1), (-1, 0), (1, 1)])
def test_varlen_attention(window):
    rng = np.random.default_rng(2)
    values = [rng.standard_normal((n, 2, 4)).astype(np.float32) for n in (7, 9, 9)]
    q, k, v = (flambeau.from_numpy(x) for x in values)
    starts_q, starts_k = [0, 3, 7], [0, 4, 9]
    output, lse = attention.varlen.varlen_attn(
        q,
        k,
        v,
        flambeau.tensor(starts_q, dtype=flambeau.int32),
        flambeau.tensor(starts_k, dtype=flambeau.int32),
        4,
        5,
        window_size=window,
        return_aux=attention.varlen.AuxRequest(lse=True),
    )
    for s in range(2):
        tq, tk, tv = (
            torch.from_numpy(x[a[s] : a[s + 1]]).transpose(0, 1) for x, a in zip(values, (starts_q, starts_k, starts_k))
        )
        scores = tq @ tk.transpose(-1, -2) / 2
        rows, columns = scores.shape[-2:]
        distance = torch.arange(columns) - torch.arange(rows)[:, None] - (columns - rows)
        if window[0] >= 0:
            scores = scores.masked_fill(distance < -window[0], -math.inf)
        if window[1] >= 0:
            scores = scores.masked_fill(distance > window[1], -math.inf)
        expected = (scores.softmax(-1) @ tv).transpose(0, 1).numpy()
        np.testing.assert_allclose(output[starts_q[s] : starts_q[s + 1]].numpy(), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            lse[:, starts_q[s] : starts_q[s + 1]].numpy(), scores.logsumexp(-1).numpy(), rtol=1e-5
        )
