"""Batches of small matrices, a matrix in each lane of a vector, against numpy's LAPACK."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as fb

TYPES = (np.float32, np.float64, np.complex64, np.complex128)
SHAPES = (((), 1), ((5,), 3), ((40,), 10), ((2, 3), 7), ((), 17), ((9,), 33), ((1, 20), 64))
RNG = np.random.default_rng(7)


def numbers(shape: tuple[int, ...], kind: type) -> np.ndarray:
    x = RNG.standard_normal(shape)
    if np.dtype(kind).kind == "c":
        x = x + 1j * RNG.standard_normal(shape)
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


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("batch", "n"), SHAPES)
def test_elimination(kind: type, batch: tuple[int, ...], n: int) -> None:
    a, x = numbers((*batch, n, n), kind), numbers((*batch, n, 3), kind)
    a += 3 * n**0.5 * np.eye(n, dtype=kind)  # well conditioned
    a = np.stack([m[RNG.permutation(n)] for m in a.reshape(-1, n, n)])
    a = a.reshape((*batch, n, n))
    A, X = fb.from_numpy(a), fb.from_numpy(a @ x)
    P, L, U = fb.linalg.lu(A)
    close(P @ L @ U, a)
    assert float(L.abs().max()) <= (1.001 if np.dtype(kind).kind == "f" else 1.5)
    close(fb.linalg.solve(A, X), x, 20_000)
    close(fb.linalg.solve(A.mT, X.mT.contiguous().mT), np.linalg.solve(a.swapaxes(-1, -2), a @ x), 20_000)
    close(fb.linalg.inv(A), np.linalg.inv(a), 20_000)
    if n < 33:  # beyond the range of single precision
        close(fb.linalg.det(A), np.linalg.det(a), 20_000)
    sign, log = np.linalg.slogdet(a)
    close(fb.linalg.slogdet(A)[0], sign, 2_000)
    close(fb.linalg.slogdet(A)[1], log, 2_000)
    factors, pivots = fb.linalg.lu_factor(A)
    close(fb.linalg.lu_solve(factors, pivots, X), x, 20_000)
    close(A.mH @ fb.linalg.lu_solve(factors, pivots, X, adjoint=True), a @ x, 20_000)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("unit", [False, True])
def test_triangles(kind: type, upper: bool, unit: bool) -> None:
    for n in (1, 4, 11):
        a, x = 0.3 * numbers((5, n, n), kind) + 2 * np.eye(n, dtype=kind), numbers((5, n, 6), kind)
        t = np.triu(a) if upper else np.tril(a)
        t = t - t * np.eye(n, dtype=kind) + np.eye(n, dtype=kind) if unit else t
        solve = fb.linalg.solve_triangular
        options = {"upper": upper, "unitriangular": unit}
        close(solve(fb.from_numpy(a), fb.from_numpy(t @ x), **options), x, 2_000)
        rows = x.swapaxes(-1, -2)
        close(solve(fb.from_numpy(a), fb.from_numpy(rows @ t), left=False, **options), rows, 2_000)
        if not unit:
            whole = np.triu(t) + np.eye(n) if upper else np.tril(t) + np.eye(n)
            whole = whole.real.astype(kind)
            product = whole.swapaxes(-1, -2) @ whole if upper else whole @ whole.swapaxes(-1, -2)
            factor = fb.from_numpy(whole)
            close(fb.cholesky_solve(fb.from_numpy(product @ x), factor, upper), x, 20_000)
            close(fb.cholesky_inverse(factor, upper), np.linalg.inv(product), 20_000)


def test_singular_matrices_are_told_apart() -> None:
    a = fb.eye(5, dtype=fb.float64).repeat(3, 1, 1)
    a[1, 3] = a[1, 2]
    assert fb.linalg.solve_ex(a, a)[1].tolist() == [0, 4, 0]
    assert fb.linalg.lu_factor_ex(a)[2].tolist() == [0, 4, 0]
    assert fb.linalg.det(a).tolist() == [1, 0, 1]
    assert fb.linalg.slogdet(a)[1].tolist() == [0, -np.inf, 0]
    for function in (fb.linalg.inv, lambda x: fb.linalg.solve(x, x)):
        with pytest.raises(fb.linalg.LinAlgError, match=r"\(Batch element 1\)"):
            function(a)
    with pytest.raises(fb.linalg.LinAlgError, match=r"\(Batch element 2\).*element 5 is zero"):
        fb.cholesky_inverse(fb.stack([a[0], a[0], a[0] * fb.tensor([1.0, 1, 1, 1, 0], dtype=fb.float64)]))
    with pytest.raises(RuntimeError, match="pivots"):
        fb.linalg.lu_solve(a[0], fb.full((5,), 9, dtype=fb.int32), a[0])


def test_a_pivot_is_the_largest_element_and_the_first_of_equals() -> None:
    a = fb.tensor([[[1.0, 2], [-3, 4]], [[2, 1], [-2, 5]], [[0, 1], [0, 1]]])
    factors, pivots, info = fb.linalg.lu_factor_ex(a)
    assert pivots.tolist() == [[2, 2], [1, 2], [1, 2]] and info.tolist() == [0, 0, 1]
    assert factors[2].tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize(("m", "n"), [(3, 8), (8, 3), (1, 5), (5, 1), (13, 9)])
def test_factors_of_matrices_that_are_not_square(m: int, n: int) -> None:
    a = numbers((20, m, n), np.float64)
    P, L, U = fb.linalg.lu(fb.from_numpy(a))
    close(P @ L @ U, a)
    assert float(L.abs().max()) <= 1


def test_factors_of_few_rows_are_rounded_once() -> None:
    """Elimination is done in double precision: what is left of large elements is exact."""
    a = np.random.default_rng(5).standard_normal((500, 6, 6)).astype(np.float32)
    factors, pivots = fb.linalg.lu_factor(fb.tensor(a))
    exact, _ = fb.linalg.lu_factor(fb.tensor(a.astype(np.float64)))
    assert (factors.numpy() == exact.numpy().astype(np.float32)).all()
    order, lower, upper = fb.lu_unpack(exact, pivots)
    np.testing.assert_allclose((order @ lower @ upper).numpy(), a.astype(np.float64), atol=1e-12)


def test_shapes_without_data() -> None:
    a = fb.empty(4, 3, 3, device="meta")
    for function in (fb.linalg.inv, fb.linalg.cholesky, lambda x: fb.linalg.solve(x, x), lambda x: fb.linalg.lu(x)[1]):
        found = function(a)
        assert found.shape == a.shape and found.device.type == "meta"
    factors, pivots = fb.linalg.lu_factor(a)
    assert fb.linalg.lu_solve(factors, pivots, a).shape == a.shape and fb.linalg.det(a).shape == (4,)
    assert [x.shape for x in fb.linalg.lu(fb.empty(2, 0, 3))] == [(2, 0, 0), (2, 0, 0), (2, 0, 3)]


def test_permutations_are_as_the_exchanges_say() -> None:
    a = numbers((7, 6, 6), np.float64)
    P, L, U = fb.lu_unpack(*fb.linalg.lu_factor(fb.from_numpy(a)))
    assert bool((P.sum(-1) == 1).all()) and bool((P.sum(-2) == 1).all())
    close(P @ L @ U, a)
    with pytest.raises(RuntimeError, match="pivots"):
        fb.lu_unpack(fb.eye(3), fb.tensor([1, 9, 3], dtype=fb.int32))


@pytest.mark.parametrize("kind", [fb.float64, fb.complex128])
def test_systems_are_differentiated(kind: fb.dtype) -> None:
    g = fb.Generator().manual_seed(5)
    A = (fb.randn(2, 3, 3, dtype=kind, generator=g) + 3 * fb.eye(3, dtype=kind)).requires_grad_()
    B = fb.randn(2, 3, 2, dtype=kind, generator=g).requires_grad_()
    factors, pivots = (x.detach() for x in fb.linalg.lu_factor(A))
    factors.requires_grad_()
    for function, inputs in (
        (fb.linalg.solve, (A, B)),
        (fb.linalg.inv, (A,)),
        (lambda a: fb.linalg.lu_factor(a)[0], (A,)),
        (fb.linalg.det, (A,)),
        (lambda a, b: fb.linalg.solve_triangular(a, b, upper=True), (A, B)),
        (lambda f, b: fb.linalg.lu_solve(f, pivots, b), (factors, B)),
        (lambda f, b: fb.linalg.lu_solve(f, pivots, b, adjoint=True), (factors, B)),
        (lambda f, b: fb.linalg.lu_solve(f, pivots, b.mT, left=False), (factors, B)),
        (lambda a, b: fb.cholesky_solve(b, a.tril() + a.tril().conj()), (A, B)),
        (lambda a: fb.cholesky_inverse(a.tril() + a.tril().conj()), (A,)),
    ):
        assert fb.autograd.gradcheck(function, inputs) and fb.autograd.gradgradcheck(function, inputs)


def test_logarithms_of_determinants_are_differentiated() -> None:
    A = fb.randn(2, 3, 3, dtype=fb.float64, generator=fb.Generator().manual_seed(5)).requires_grad_()
    assert fb.autograd.gradcheck(lambda a: fb.linalg.slogdet(a)[1], (A,))
    assert fb.autograd.gradgradcheck(lambda a: fb.linalg.slogdet(a)[1], (A,))


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


@pytest.mark.parametrize(
    "strides", [(144, 24, 2), (25, 0, 3), (50, 3, 7), (0, 5, 1), (25, 1, 0), (30, 1, 6), (36, 2, 12)]
)
@pytest.mark.parametrize("name", ["inv", "det", "solve", "lu", "cholesky_solve", "triangular"])
def test_matrices_that_lie_anyhow(name: str, strides: tuple[int, ...]) -> None:
    linalg = fb.linalg
    run = {
        "inv": lambda x, b: linalg.inv(x), "det": lambda x, b: linalg.det(x), "solve": linalg.solve,
        "lu": lambda x, b: linalg.lu_factor(x).LU, "cholesky_solve": lambda x, b: fb.cholesky_solve(x, b),
        "triangular": lambda x, b: linalg.solve_triangular(b.tril(), x, upper=False),
    }[name]  # fmt: skip
    rng = np.random.default_rng(3)
    whole = fb.from_numpy(rng.standard_normal(600))
    b = fb.from_numpy(rng.standard_normal((3, 5, 5)) + 9 * np.eye(5))
    x = whole.as_strided((3, 5, 5), strides)
    if name in ("inv", "solve", "lu", "det") and 0 in strides[1:]:
        return  # singular
    found, want = run(x, b), run(x.contiguous(), b)
    assert np.isfinite(found.numpy()).all()
    np.testing.assert_array_equal(found.numpy(), want.numpy())
    if name == "inv":
        np.testing.assert_allclose((found @ x).numpy(), np.broadcast_to(np.eye(5), (3, 5, 5)), atol=1e-6)
