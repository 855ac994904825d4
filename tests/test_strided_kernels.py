"""Kernels that read or write every second element: parts of complex numbers, and views of step 2."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as torch

SIZES = (1, 2, 3, 15, 16, 17, 31, 33, 64, 100, 1000)


def _complex(*shape: int, dtype: str = "complex64") -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("n", SIZES)
def test_complex_arithmetic(n: int, dtype: str) -> None:
    x, y = _complex(n, dtype=dtype), _complex(n, dtype=dtype)[::-1].copy()
    a, b = torch.from_numpy(x.copy()), torch.from_numpy(y)
    tol = 1e-5 if dtype == "complex64" else 1e-12
    np.testing.assert_allclose((a + b).numpy(), x + y, rtol=tol)
    np.testing.assert_allclose((a * b).numpy(), x * y, rtol=tol, atol=tol)
    np.testing.assert_allclose((a / b).numpy(), x / y, rtol=tol, atol=tol)
    np.testing.assert_allclose(a.abs().numpy(), np.abs(x), rtol=tol)
    np.testing.assert_allclose(a.sum().numpy(), x.sum(), rtol=10 * tol, atol=10 * tol)
    np.testing.assert_array_equal(torch.complex(a.real, b.imag).numpy(), x.real + 1j * y.imag)
    np.testing.assert_array_equal((a.real + a.imag).numpy(), x.real + x.imag)
    np.testing.assert_array_equal(a.conj().resolve_conj().numpy(), x.conj())
    a.mul_(b)
    np.testing.assert_allclose(a.numpy(), x * y, rtol=tol, atol=tol)
    a.imag.fill_(3)
    np.testing.assert_array_equal(a.imag.numpy(), np.full(n, 3, x.real.dtype))
    np.testing.assert_allclose(a.real.numpy(), (x * y).real, rtol=tol, atol=tol)


@pytest.mark.parametrize("shape", [(5, 7), (17, 33), (3, 4, 70)])
def test_complex_layouts(shape: tuple[int, ...]) -> None:
    x = _complex(*shape)
    a = torch.from_numpy(x)
    np.testing.assert_array_equal(a.mT.contiguous().numpy(), np.swapaxes(x, -1, -2))
    np.testing.assert_array_equal((a.mT + 1).numpy(), np.swapaxes(x, -1, -2) + 1)
    np.testing.assert_array_equal(a[..., ::2].contiguous().numpy(), x[..., ::2])
    np.testing.assert_array_equal(a.flip(-1).numpy(), np.flip(x, -1))
    for dim in range(len(shape)):
        np.testing.assert_allclose(a.sum(dim).numpy(), x.sum(dim), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(a.mean(dim).numpy(), x.mean(dim), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(a.cumsum(dim).numpy(), x.cumsum(dim), rtol=1e-4, atol=1e-4)
    index = np.array([2, 0, 1, 2])
    np.testing.assert_array_equal(a[torch.from_numpy(index)].numpy(), x[index])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int64", "bool", "int16"])
@pytest.mark.parametrize("n", SIZES)
def test_views_of_step_two(n: int, dtype: str) -> None:
    x = (np.random.default_rng(1).standard_normal((3, 2 * n + 1)) * 9).astype(dtype)
    a = torch.from_numpy(x.copy())
    np.testing.assert_array_equal(a[:, ::2].contiguous().numpy(), x[:, ::2])
    np.testing.assert_array_equal(a[:, 1::2].contiguous().numpy(), x[:, 1::2])
    both = x[:, :-1:2] ^ x[:, 1::2] if dtype == "bool" else x[:, :-1:2] + x[:, 1::2]
    ours = a[:, :-1:2] ^ a[:, 1::2] if dtype == "bool" else a[:, :-1:2] + a[:, 1::2]
    np.testing.assert_array_equal(ours.numpy(), both)
    a[:, ::2] = a[:, ::2].flip(1)
    y = x.copy()
    y[:, ::2] = x[:, ::2][:, ::-1]
    np.testing.assert_array_equal(a.numpy(), y)
    turned = torch.stack([-a[:, 1::2], a[:, :-1:2]], -1) if dtype.startswith("float") else torch.stack([a, a], -1)
    want = np.stack([-y[:, 1::2], y[:, :-1:2]], -1) if dtype.startswith("float") else np.stack([y, y], -1)
    np.testing.assert_array_equal(turned.numpy(), want)


def _crosswise() -> dict[str, Any]:
    F = torch.nn.functional
    return {
        "sum of both orders": (lambda x, y: x + y.t(), lambda a, b: a + b.T),
        "in place over itself": (lambda x, y: x.clone().add_(x.t()), lambda a, b: a + a.T),
        "into an operand": (lambda x, y: x.clone().mul_(y.t()).sub_(1), lambda a, b: a * b.T - 1),
        "of choices": (lambda x, y: torch.where(x > 0, x, y.t()), lambda a, b: np.where(a > 0, a, b.T)),
        "of other types": (lambda x, y: x.double() * y.t().double(), lambda a, b: a.astype("d") * b.T),
        "rows": (lambda x, y: F.layer_norm(x.t(), (300,)), lambda a, b: _standard(a.T)),
        "exponents": (lambda x, y: x.t().softmax(-1), lambda a, b: np.exp(a.T) / np.exp(a.T).sum(-1, keepdims=True)),
        "running": (lambda x, y: x.t().cumsum(-1) + y.t(), lambda a, b: a.T.cumsum(-1) + b.T),
        "a border": (lambda x, y: F.pad(x.t(), (1, 2)) * 2, lambda a, b: np.pad(a.T, ((0, 0), (1, 2))) * 2),
        "side by side": (lambda x, y: torch.cat([x.t(), y], 1) - 1, lambda a, b: np.concatenate([a.T, b], 1) - 1),
        "a part": (lambda x, y: x.t()[:9] * 2 + y[:9], lambda a, b: a.T[:9] * 2 + b[:9]),
        "there and back": (lambda x, y: (x.t().relu() + y.t()).t() * 2, lambda a, b: (np.maximum(a, 0) + b) * 2),
        "both ways": (lambda x, y: x + x.t() + x.t().contiguous(), lambda a, b: a + 2 * a.T),
        "operands of products": (lambda x, y: (x.t() * 2 + 1) @ y, lambda a, b: (a.T * 2 + 1) @ b),
        "twice": (lambda x, y: (x.t() + y, x.t().sum(0), x.t() - 1)[0], lambda a, b: a.T + b),
    }


@pytest.mark.parametrize("name", _crosswise())
@pytest.mark.parametrize("waits", [False, True])
def test_large_operands_in_another_order(name: str, waits: bool) -> None:
    ours, theirs = _crosswise()[name]
    rng = np.random.default_rng(3)
    a, b = (rng.normal(size=(300, 300)).astype("f") for _ in range(2))
    run = torch.compile(ours) if waits else ours
    for _ in range(2):
        found = run(torch.from_numpy(a.copy()), torch.from_numpy(b.copy()))
    np.testing.assert_allclose(found.numpy(), theirs(a, b), rtol=2e-4, atol=2e-5)


def _standard(a: Any) -> Any:
    return (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-5)


@pytest.mark.parametrize("dims", [(1, 2), (0, 3), (3,), (2,), (0, 1, 2, 3), (1, 3)])
@pytest.mark.parametrize("keepdim", [False, True])
def test_reductions_in_the_order_of_memory(dims: tuple[int, ...], keepdim: bool) -> None:
    a = np.random.default_rng(4).normal(size=(3, 5, 17, 19)).astype("f")
    x = torch.from_numpy(a)
    for order in ((0, 2, 3, 1), (3, 1, 0, 2), (1, 0, 2, 3)):
        turned, seen = x.permute(*order), a.transpose(order)
        for name in ("sum", "mean", "amax"):
            found = getattr(turned, name)(dims, keepdim=keepdim)
            want = getattr(seen, name.removeprefix("a"))(axis=dims, keepdims=keepdim)
            np.testing.assert_allclose(found.numpy(), want, rtol=1e-4, atol=1e-5)
            assert found.is_contiguous()
        assert np.array_equal((turned > 2).any(dims[0]).numpy(), (seen > 2).any(dims[0]))
        double = torch.compile(lambda x, order=order: (x * 2).permute(*order).sum(dims, keepdim))
        want = (seen * 2).sum(axis=dims, keepdims=keepdim)
        np.testing.assert_allclose(double(x).numpy(), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["uint8", "int8", "bool", "int16", "float16", "bfloat16", "int32", "float64"])
@pytest.mark.parametrize("shape", [(16, 16), (33, 100), (300, 47), (64, 31)])
def test_tiles_of_every_type_are_turned(kind: str, shape: tuple[int, int]) -> None:
    a = np.random.default_rng(5).integers(0, 2 if kind == "bool" else 100, shape)
    x = torch.from_numpy(a).to(getattr(torch, kind))
    assert np.array_equal(x.t().contiguous().to(torch.int64).numpy(), a.T)
