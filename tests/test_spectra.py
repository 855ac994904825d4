"""Singular values and eigenvalues beside numpy's, and of matrices that LAPACK's iterations would not end on."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau

linalg = flambeau.linalg
KINDS = ["float32", "float64", "complex64", "complex128"]


def _matrices(kind: str, *shape: int) -> np.ndarray:
    draw = np.random.default_rng(0)
    a = draw.standard_normal(shape)
    return (a + 1j * draw.standard_normal(shape) if kind.startswith("c") else a).astype(kind)


def _slack(kind: str) -> float:
    return 100 * float(np.finfo(kind).eps)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (3, 5), (2, 3, 4, 9), (2, 40, 17), (1, 3), (2, 2, 50)])
def test_singular_values_and_vectors(kind: str, shape: tuple[int, ...]) -> None:
    a = _matrices(kind, *shape)
    known = np.linalg.svd(a.astype(np.result_type(kind, np.float64)), compute_uv=False)
    for full in (False, True):
        U, S, Vh = (t.numpy() for t in linalg.svd(flambeau.from_numpy(a), full_matrices=full))
        assert U.dtype == a.dtype and S.dtype == a.real.dtype
        np.testing.assert_allclose(S, known, rtol=_slack(kind), atol=_slack(kind))
        k = S.shape[-1]
        np.testing.assert_allclose((U[..., :k] * S[..., None, :]) @ Vh[..., :k, :], a, atol=10 * _slack(kind))
        for basis in (U, Vh.conj().swapaxes(-1, -2)):
            eye = np.broadcast_to(np.eye(basis.shape[-1]), (*shape[:-2], basis.shape[-1], basis.shape[-1]))
            np.testing.assert_allclose(basis.conj().swapaxes(-1, -2) @ basis, eye, atol=_slack(kind))
    np.testing.assert_allclose(linalg.svdvals(flambeau.from_numpy(a)).numpy(), known, rtol=_slack(kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("triangle", ["L", "U"])
def test_eigenvalues_of_one_triangle(kind: str, triangle: str) -> None:
    a = _matrices(kind, 2, 3, 6, 6)
    values, vectors = (t.numpy() for t in linalg.eigh(flambeau.from_numpy(a), triangle))
    wide = a.astype(np.result_type(kind, np.float64))
    known = np.linalg.eigvalsh(wide, triangle)
    np.testing.assert_allclose(values, known, atol=_slack(kind))
    half = np.tril(wide, -1) if triangle == "L" else np.triu(wide, 1)
    whole = half + half.conj().swapaxes(-1, -2) + np.eye(6) * wide.real
    np.testing.assert_allclose(whole @ vectors, vectors * values[..., None, :], atol=_slack(kind))
    np.testing.assert_allclose(linalg.eigvalsh(flambeau.from_numpy(a), triangle).numpy(), known, atol=_slack(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_eigenvalues_of_any_matrix(kind: str) -> None:
    a = _matrices(kind, 3, 7, 7)
    a[1] = np.diag(np.arange(7.0))  # real ones alone
    values, vectors = (t.numpy() for t in linalg.eig(flambeau.from_numpy(a)))
    assert values.dtype == vectors.dtype == np.result_type(kind, np.complex64)
    np.testing.assert_allclose(a @ vectors, vectors * values[..., None, :], atol=_slack(kind))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-2), 1, atol=_slack(kind))
    alone = linalg.eigvals(flambeau.from_numpy(a)).numpy()
    np.testing.assert_allclose(np.sort_complex(alone), np.sort_complex(values), atol=10 * _slack(kind))
    assert linalg.eigvals(flambeau.empty(2, 0, 0)).shape == (2, 0)


def test_eigenvalues_alone_have_gradients() -> None:
    x = flambeau.from_numpy(_matrices("float64", 4, 4)).requires_grad_()
    assert flambeau.autograd.gradcheck(lambda t: flambeau.view_as_real(linalg.eigvals(t)).square().sum(), x)
    vjp = flambeau.func.vjp(linalg.eigvals, x.detach())[1](flambeau.ones(4, dtype=flambeau.complex128))[0]
    np.testing.assert_allclose(vjp.numpy(), np.eye(4), atol=1e-9)  # the sum of the eigenvalues is the trace


@pytest.mark.parametrize("kind", ["float32", "float64", "complex64"])
def test_infinities_end(kind: str) -> None:
    a = np.array([[np.inf, 0.8216181, 0.33043706], [0, 0.90535587, 0], [0, np.inf, 0]], kind)
    x = flambeau.from_numpy(np.stack([np.eye(3, dtype=kind), a]))
    U, S, Vh = linalg.svd(x)
    assert S[0].tolist() == [1, 1, 1] and S[1].isnan().all() and U[1].isnan().all() and not Vh[0].isnan().any()
    for found in (linalg.svdvals(x), linalg.eigvalsh(x), linalg.eigh(x)[0], linalg.eigvals(x)):
        assert found[0].real.tolist() == [1, 1, 1] and found[1].real.isnan().all()
    assert linalg.matrix_rank(x).tolist() == [3, 0]
    for driver in ("gels", "gelsy", "gelsd", "gelss"):
        found = linalg.lstsq(x, flambeau.ones_like(x), driver=driver).solution
        assert found[0].real.tolist() == [[1] * 3] * 3 and found[1].real.isnan().all()


def test_nan_is_refused_by_name_and_place() -> None:
    x = flambeau.eye(3).expand(2, 3, 3).clone()
    x[1, 0, 2] = float("nan")
    for call in (linalg.svd, linalg.svdvals, linalg.pinv, lambda t: linalg.cond(t)):
        with pytest.raises(linalg.LinAlgError, match=r"linalg.svd: \(Batch element 1\): .* non-finite values"):
            call(x)
    with pytest.raises(RuntimeError, match="infs or NaNs"):
        linalg.eig(x)
    assert linalg.eigvalsh(x)[0].tolist() == [1, 1, 1]
    assert linalg.eigvalsh(x, "L").isfinite().all()  # nan in the triangle that is not read


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(20, 12), (12, 20), (2, 3, 30, 9), (3, 0, 4)])
def test_few_singular_values_of_a_matrix_of_low_rank(kind: str, shape: tuple[int, ...]) -> None:
    flambeau.manual_seed(0)
    *batch, m, n = shape
    a = _matrices(kind, *batch, m, 3) @ _matrices(kind, *batch, 3, n)
    x = flambeau.from_numpy(a)
    q = min(4, m, n)
    for off, less in ((None, a), (x * 0.5, a * 0.5)):
        U, S, V = (t.numpy() for t in flambeau.svd_lowrank(x, q, M=off))
        assert U.shape == (*batch, m, q) and S.shape == (*batch, q) and V.shape == (*batch, n, q)
        np.testing.assert_allclose((U * S[..., None, :]) @ V.conj().swapaxes(-1, -2), less, atol=50 * _slack(kind))


@pytest.mark.parametrize("shape", [(3, 33), (33, 3), (2, 4, 3)])
def test_rank_of_hermitian_matrices_demands_square_ones(shape: tuple[int, ...]) -> None:
    with pytest.raises(RuntimeError, match="must be batches of square matrices"):
        linalg.matrix_rank(flambeau.ones(shape), hermitian=True)


@pytest.mark.parametrize("shape", [(40, 40), (33, 70), (70, 33), (3, 200)])
@pytest.mark.parametrize("full", [False, True])
def test_complex_singular_vectors_have_the_room_that_lapack_asks_for(shape, full):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((4, *shape)) + 1j * rng.standard_normal((4, *shape))
    u, s, vh = flambeau.linalg.svd(flambeau.from_numpy(a), full_matrices=full)
    k = min(shape)
    np.testing.assert_allclose((u.numpy()[..., :k] * s.numpy()[:, None]) @ vh.numpy()[:, :k], a, atol=1e-12)
