"""Linear systems large enough to be solved by blocks, and LAPACK's threads."""

import numpy as np
import pytest

import flambeau as torch
from flambeau.runtime import blas

SIDES = [129, 300]


def matrices(n, batch, dtype):
    rng = np.random.default_rng(n)
    a = rng.standard_normal((*batch, n, n)) / n**0.5 + np.eye(n)
    return a.astype(dtype), rng.standard_normal((*batch, n, n + 3)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("n", SIDES)
def test_large_systems(n, batch, dtype):
    a, b = matrices(n, batch, dtype)
    A, B = torch.from_numpy(a), torch.from_numpy(b)
    exact = np.linalg.solve(a.astype(np.float64), b)
    near = {"rtol": 0, "atol": (2e-3 if dtype is np.float32 else 1e-10) * np.abs(exact).max()}
    np.testing.assert_allclose(torch.linalg.solve(A, B).numpy(), exact, **near)
    np.testing.assert_allclose((torch.linalg.inv(A) @ B).numpy(), exact, **near)
    LU, pivots = torch.linalg.lu_factor(A)
    np.testing.assert_allclose(torch.linalg.lu_solve(LU, pivots, B).numpy(), exact, **near)


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("left", [False, True])
def test_large_triangular_systems(left, upper, unit):
    a, b = matrices(200, (2,), np.float64)
    b = b if left else b.swapaxes(-1, -2)
    x = torch.linalg.solve_triangular(
        torch.from_numpy(a), torch.from_numpy(b), upper=upper, left=left, unitriangular=unit
    )
    triangle = np.triu(a, int(unit)) if upper else np.tril(a, -int(unit))
    triangle = triangle + np.eye(200) * unit
    np.testing.assert_allclose(triangle @ x.numpy() if left else x.numpy() @ triangle, b, rtol=0, atol=1e-9)


def test_gradients_of_large_systems():
    a, b = matrices(140, (), np.float64)
    A, B = torch.from_numpy(a).requires_grad_(), torch.from_numpy(b).requires_grad_()
    direction, step = np.random.default_rng(1).standard_normal(a.shape), 1e-6
    weight = np.random.default_rng(2).standard_normal(b.shape)
    (torch.linalg.solve(A, B) * torch.from_numpy(weight)).sum().backward()
    ends = [(np.linalg.solve(a + s * step * direction, b) * weight).sum() for s in (1, -1)]
    assert (A.grad.numpy() * direction).sum() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5)
    np.testing.assert_allclose(B.grad.numpy(), np.linalg.solve(a.T, weight), atol=1e-9)


def test_singular_large_matrices_are_refused():
    a = torch.eye(300)
    a[200, 200] = 0
    with pytest.raises(torch.linalg.LinAlgError, match="diagonal element 201"):
        torch.linalg.inv(a)
    with pytest.raises(torch.linalg.LinAlgError, match="singular"):
        torch.linalg.solve(a, torch.eye(300))
    assert torch.linalg.inv_ex(a).info.item() == 201


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_cholesky_inverse(dtype, upper):
    rng = np.random.default_rng(3)
    a = rng.standard_normal((2, 70, 70)) + (1j * rng.standard_normal((2, 70, 70)) if np.dtype(dtype).kind == "c" else 0)
    a = (a @ a.conj().swapaxes(-1, -2) / 70 + np.eye(70)).astype(dtype)
    factor = torch.linalg.cholesky(torch.from_numpy(a), upper=upper)
    beyond = torch.ones(70, 70, dtype=factor.dtype)
    factor = factor + (beyond.tril(-1) if upper else beyond.triu(1))  # is not looked at
    found = torch.cholesky_inverse(factor, upper=upper)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(found.numpy(), np.linalg.inv(a), rtol=0, atol=2000 * eps)


def test_cholesky_inverse_of_a_singular_factor():
    factor = torch.ones(3, 3).tril()
    factor[1, 1] = 0
    with pytest.raises(torch.linalg.LinAlgError, match="cholesky_inverse: The diagonal element 2 is zero"):
        torch.cholesky_inverse(factor)


def test_threads_of_openblas_are_given_back():
    np.linalg.inv(np.eye(3))
    found = blas._threads_of("numpy")
    if found is None:
        pytest.skip("this numpy has another BLAS than OpenBLAS")
    get, _ = found
    before = get()
    with blas.limited(100):
        assert get() == 1
    assert get() == before
    with pytest.raises(ValueError, match="within"), blas.limited(100):
        raise ValueError("within")
    assert get() == before
