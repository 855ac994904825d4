"""Kernels that read or write every second element: parts of complex numbers, and views of step 2."""

from __future__ import annotations

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
