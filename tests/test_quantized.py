"""Quantized tensors against PyTorch's and against the definition in numpy."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest

import flambeau

X = np.random.default_rng(0).normal(0, 4, (3, 4)).astype(np.float32)


def both():
    torch = pytest.importorskip("torch")
    warnings.simplefilter("ignore")
    return flambeau, torch


def made(f, channel: bool = False, kind: str = "qint8"):
    x = f.tensor(X)
    if channel:
        return f.quantize_per_channel(x, f.tensor([0.1, 0.2, 0.05]), f.tensor([0, 3, -2]), 0, getattr(f, kind))
    return f.quantize_per_tensor(x, 0.1, 10, getattr(f, kind))


@pytest.mark.parametrize("kind", ["quint8", "qint8", "qint32"])
@pytest.mark.parametrize("channel", [False, True])
def test_quantization(kind: str, channel: bool) -> None:
    if channel and kind == "quint8":
        return  # a negative zero point
    mine, theirs = (made(f, channel, kind) for f in both())
    assert repr(mine) == repr(theirs)
    assert mine.int_repr().tolist() == theirs.int_repr().tolist()
    assert str(mine.int_repr().dtype) == str(theirs.int_repr().dtype)
    np.testing.assert_array_equal(mine.dequantize().numpy(), theirs.dequantize().numpy())
    assert (repr(mine.qscheme()), repr(mine.dtype)) == (repr(theirs.qscheme()), repr(theirs.dtype))
    assert mine.is_quantized
    if channel:
        assert mine.q_per_channel_scales().tolist() == theirs.q_per_channel_scales().tolist()
        assert mine.q_per_channel_zero_points().tolist() == theirs.q_per_channel_zero_points().tolist()
        assert mine.q_per_channel_axis() == 0
        with pytest.raises(RuntimeError):
            mine.q_scale()
    else:
        assert (mine.q_scale(), mine.q_zero_point()) == (theirs.q_scale(), theirs.q_zero_point())


def test_definition() -> None:
    steps = np.clip(np.round(X / np.float32(0.1)) + 10, -128, 127)
    np.testing.assert_array_equal(made(flambeau).int_repr().numpy(), steps)
    edge = flambeau.quantize_per_tensor(flambeau.tensor([0.5, 1.5, 2.5, -np.inf, np.inf]), 1.0, 0, flambeau.quint8)
    assert edge.int_repr().tolist() == [0, 2, 2, 0, 255]  # ties to even, ends kept


@pytest.mark.parametrize("low", [-3.0, 0.5])
@pytest.mark.parametrize("reduce", [False, True])
def test_dynamic_range(low: float, reduce: bool) -> None:
    mine, theirs = (
        f.quantize_per_tensor_dynamic(f.tensor(np.abs(X) + np.float32(low)), f.quint8, reduce) for f in both()
    )
    assert mine.q_zero_point() == theirs.q_zero_point()
    assert mine.q_scale() == pytest.approx(theirs.q_scale(), rel=1e-6)
    assert np.abs(mine.int_repr().numpy().astype(int) - theirs.int_repr().numpy().astype(int)).max() <= 1


def test_operators() -> None:
    operators = [
        lambda f, q: q.reshape(4, 3), lambda f, q: q.t(), lambda f, q: q[1], lambda f, q: q[:, 1:3],
        lambda f, q: q.relu(),
        lambda f, q: q.max(), lambda f, q: f.cat([q, q], 1), lambda f, q: q.clone(), lambda f, q: q.unsqueeze(0),
        lambda f, q: q.mean(), lambda f, q: q.transpose(0, 1).contiguous(), lambda f, q: f.dequantize(q),
        lambda f, q: f.dequantize([q, q])[1], lambda f, q: q == q,
    ]  # fmt: skip
    for operator in operators:
        mine, theirs = (operator(f, made(f)) for f in both())
        assert repr(mine) == repr(theirs)
    q = made(flambeau)
    assert q.copy_(flambeau.zeros(3, 4)).dequantize().abs().max().item() == 0
    for refused in (lambda: q + 1, q.sum, q.exp):
        with pytest.raises(NotImplementedError):
            refused()
    with pytest.raises(TypeError, match="dequantize"):
        q.numpy()
    with pytest.raises(NotImplementedError, match="q_scale"):
        flambeau.ones(2).q_scale()
    assert flambeau.ones(2).half().dequantize().dtype is flambeau.float32


def test_refusals() -> None:
    x = flambeau.tensor(X)
    for bad in (
        lambda: flambeau.quantize_per_tensor(x.double(), 0.1, 0, flambeau.qint8),
        lambda: flambeau.quantize_per_tensor(x, 0.1, 0, flambeau.int8),
        lambda: flambeau.quantize_per_tensor(x, 0.1, 300, flambeau.quint8),
        lambda: flambeau.quantize_per_channel(x, flambeau.ones(2), flambeau.zeros(2), 0, flambeau.qint8),
        lambda: flambeau.fake_quantize_per_tensor_affine(x, 0.1, 300, 0, 255),
        lambda: flambeau.fake_quantize_per_tensor_affine(x, 0.1, 0, 255, 0),
    ):
        with pytest.raises(RuntimeError):
            bad()


@pytest.mark.parametrize("channel", [False, True])
def test_fake_quantization(channel: bool) -> None:
    found = []
    for f in both():
        x = f.tensor(X, requires_grad=True)
        if channel:
            zeros = f.tensor([0, 3, -2], dtype=f.int32)
            y = f.fake_quantize_per_channel_affine(x, f.tensor([0.1, 0.02, 0.05]), zeros, 0, -128, 127)
        else:
            y = f.fake_quantize_per_tensor_affine(x, 0.03, 5, -128, 127)
        (y * f.arange(12.0).reshape(3, 4)).sum().backward()
        found.append((y.detach().numpy(), x.grad.numpy()))
    for mine, theirs in zip(*found):
        np.testing.assert_array_equal(mine, theirs)
    assert (found[0][1] == 0).any()


def test_products() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(-128, 128, (17, 8), dtype=np.int8), rng.integers(-128, 128, (8, 16), dtype=np.int8)
    found = flambeau._int_mm(flambeau.tensor(a), flambeau.tensor(b))
    assert found.dtype is flambeau.int32
    np.testing.assert_array_equal(found.numpy(), a.astype(np.int32) @ b.astype(np.int32))
    x, y = flambeau.randn(16, 32).to(flambeau.float8_e4m3fn), flambeau.randn(32, 16).to(flambeau.float8_e4m3fn)
    rows, columns = flambeau.rand(16, 1), flambeau.rand(1, 16)
    wanted = (x.double() @ y.double()) * rows * columns + 1
    got = flambeau._scaled_mm(x, y, rows, columns, flambeau.ones(16), out_dtype=flambeau.float32)
    np.testing.assert_allclose(got.numpy(), wanted.numpy(), 1e-5, 1e-5)
    half = flambeau._scaled_mm(x, y, flambeau.tensor(2.0), flambeau.tensor(3.0), out_dtype=flambeau.bfloat16)
    np.testing.assert_allclose(half.float().numpy(), ((x.double() @ y.double()) * 6).numpy(), 1e-2, 1e-2)
    with pytest.raises(RuntimeError, match="int8"):
        flambeau._int_mm(x, y)
    with pytest.raises(RuntimeError, match="scale_a"):
        flambeau._scaled_mm(x, y, flambeau.ones(3), columns)


def test_pickles() -> None:
    q = made(flambeau, True)
    for again in (pickle.loads(pickle.dumps(q)), copy.deepcopy(q)):
        assert repr(again) == repr(q)
