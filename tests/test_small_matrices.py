"""Batches of small matrices, a matrix in each lane of a vector, against numpy's LAPACK."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as fb

TYPES = (np.float32, np.float64, np.complex64, np.complex128)
SHAPES = (((), 1), ((5,), 3), ((40,), 10), ((2, 3), 7), ((), 17), ((9,), 33), ((1, 20), 64))
random = np.random.default_rng(7)


def numbers(shape: tuple[int, ...], kind: type) -> np.ndarray:
    x = random.standard_normal(shape)
    if np.dtype(kind).kind == "c":
        x = x + 1j * random.standard_normal(shape)
    return x.astype(kind)


def positive(batch: tuple[int, ...], n: int, kind: type) -> np.ndarray:
    x = numbers((*batch, n, n), kind)
    return (x @ x.conj().swapaxes(-1, -2) + n * np.eye(n)).astype(kind)


def close(found: fb.Tensor, expected: np.ndarray, factor: float = 100) -> None:
    assert tuple(found.shape) == expected.shape
    eps = np.finfo(expected.dtype).eps
    np.testing.assert_allclose(found.numpy(), expected, rtol=factor * eps, atol=factor * eps * np.abs(expected).max())


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("batch", "n"), SHAPES)
def test_cholesky(kind: type, batch: tuple[int, ...], n: int) -> None:
    a = positive(batch, n, kind)
    expected = np.linalg.cholesky(a)
    spoilt = a + np.triu(numbers(a.shape, kind), 1)  # the other triangle is not read
    close(fb.linalg.cholesky(fb.from_numpy(spoilt)), expected)
    turned = fb.from_numpy(spoilt.swapaxes(-1, -2).conj())
    close(fb.linalg.cholesky(turned, upper=True), expected.conj().swapaxes(-1, -2))
    assert not fb.linalg.cholesky_ex(fb.from_numpy(a))[1].any()


def test_cholesky_tells_of_the_first_matrix_that_is_not_positive() -> None:
    a = fb.eye(6).repeat(4, 1, 1)
    a[2, 3, 3] = -1
    a[3, 0, 0] = float("nan")
    assert fb.linalg.cholesky_ex(a)[1].tolist() == [0, 0, 4, 1]
    assert bool((fb.linalg.cholesky_ex(a)[0][:2] == fb.eye(6)).all())
    with pytest.raises(fb.linalg.LinAlgError, match=r"\(Batch element 2\).*leading minor of order 4"):
        fb.linalg.cholesky(a)


@pytest.mark.parametrize("shape", [(0, 3, 3), (2, 0, 0), (0, 0)])
def test_cholesky_of_nothing(shape: tuple[int, ...]) -> None:
    factor, info = fb.linalg.cholesky_ex(fb.empty(shape))
    assert tuple(factor.shape) == shape and tuple(info.shape) == shape[:-2] and not info.any()


def test_a_matrix_is_factored_alike_in_any_company() -> None:
    a = fb.from_numpy(positive((50,), 9, np.float32))
    whole = fb.linalg.cholesky(a)
    for threads in (1, 2):
        before = fb.get_num_threads()
        fb.set_num_threads(threads)
        assert bool((fb.linalg.cholesky(a) == whole).all())
        fb.set_num_threads(before)
    for k in (0, 17, 49):
        assert bool((fb.linalg.cholesky(a[k]) == whole[k]).all())


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("kind", [fb.float64, fb.complex128])
def test_cholesky_is_differentiated(kind: fb.dtype, upper: bool) -> None:
    x = fb.randn(3, 4, 4, dtype=kind, generator=fb.Generator().manual_seed(3)).requires_grad_()

    def function(x: fb.Tensor) -> fb.Tensor:
        return fb.linalg.cholesky(x @ x.mH + 4 * fb.eye(4, dtype=kind), upper=upper)

    assert fb.autograd.gradcheck(function, (x,)) and fb.autograd.gradgradcheck(function, (x,))


def test_cholesky_of_members() -> None:
    a = fb.from_numpy(positive((4, 3), 5, np.float64))
    assert fb.allclose(
        fb.vmap(lambda m: fb.linalg.cholesky_ex(m)[0], in_dims=1)(a.transpose(0, 1)), fb.linalg.cholesky(a)
    )
