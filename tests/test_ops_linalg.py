"""Linear algebra, Fourier transforms and windows against numpy, scipy and PyTorch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.signal

import flambeau
from flambeau import linalg
from flambeau.autograd import gradcheck, gradgradcheck

RNG = np.random.default_rng(11)


def tensor(*shape: int, complex_: bool = False) -> Any:
    a = RNG.standard_normal(shape)
    return flambeau.tensor(a + 1j * RNG.standard_normal(shape) if complex_ else a, requires_grad=True)


def near(x: Any, y: Any, tolerance: float = 1e-10) -> None:
    x, y = (np.asarray(t.detach().numpy() if isinstance(t, flambeau.Tensor) else t) for t in (x, y))
    assert x.shape == y.shape
    np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("complex_", [False, True])
def test_factors_multiply_to_the_matrix(complex_: bool) -> None:
    A = tensor(2, 5, 3, complex_=complex_).detach()
    S = tensor(2, 4, 4, complex_=complex_).detach()
    H = S @ linalg_adjoint(S) + 0.1 * flambeau.eye(4, dtype=flambeau.float64)
    U, s, Vh = linalg.svd(A, full_matrices=False)
    near((U * s.unsqueeze(-2).to(U.dtype)) @ Vh, A)
    near(linalg.svdvals(A), s)
    Q, R = linalg.qr(A)
    near(Q @ R, A)
    assert linalg.qr(A, "complete").Q.shape == (2, 5, 5) and linalg.qr(A, "r").Q.shape == (0,)
    P, L, W = linalg.lu(A)
    near(P @ L @ W, A)
    near(linalg.lu_solve(*linalg.lu_factor(S), H), linalg.solve(S, H))
    near(linalg.lu_solve(*linalg.lu_factor(S), H, left=False, adjoint=True), H @ linalg_adjoint(linalg.inv(S)))
    for upper in (False, True):
        C = linalg.cholesky(H, upper=upper)
        near(linalg_adjoint(C) @ C if upper else C @ linalg_adjoint(C), H)
        near(H @ flambeau.cholesky_solve(S, C, upper), S)
        near(flambeau.cholesky_inverse(C, upper), linalg.inv(H))
    values, vectors = linalg.eigh(H)
    near(vectors * values.unsqueeze(-2).to(vectors.dtype), H @ vectors)
    values, vectors = linalg.eig(S)
    near(vectors * values.unsqueeze(-2), S.to(vectors.dtype) @ vectors)
    X = linalg.ldl_solve(*linalg.ldl_factor(H, hermitian=True), S, hermitian=True)
    near(H @ X, S)
    near(linalg.householder_product(*flambeau.geqrf(A)), Q)
    near(flambeau.ormqr(*flambeau.geqrf(A), A, transpose=True)[..., :3, :], R, 1e-9)


def linalg_adjoint(x: Any) -> Any:
    return x.transpose(-1, -2).conj() if x.is_complex() else x.transpose(-1, -2)


def test_against_numpy() -> None:
    A, B = tensor(3, 4, 4).detach(), tensor(3, 4, 2).detach()
    a, b = A.numpy(), B.numpy()
    near(linalg.det(A), np.linalg.det(a))
    near(linalg.slogdet(A)[1], np.linalg.slogdet(a)[1])
    near(linalg.inv(A), np.linalg.inv(a))
    near(linalg.solve(A, B), np.linalg.solve(a, b))
    near(linalg.solve(A, B[0, :, 0]), np.linalg.solve(a, np.broadcast_to(b[0, :, :1], (3, 4, 1)))[..., 0])
    near(linalg.solve_triangular(A.triu(), B, upper=True), np.linalg.solve(np.triu(a), b))
    near(
        linalg.solve_triangular(A, B.mT, upper=False, left=False, unitriangular=True),
        b.swapaxes(1, 2) @ np.linalg.inv(np.tril(a, -1) + np.eye(4)),
    )
    near(linalg.pinv(B), np.linalg.pinv(b))
    near(linalg.lstsq(A[:, :, :2], B)[0], np.linalg.pinv(a[:, :, :2]) @ b)
    near(linalg.matrix_power(A, -3), np.linalg.matrix_power(a, -3), 1e-7)
    near(linalg.matrix_exp(A), scipy.linalg.expm(a))
    assert linalg.matrix_rank(flambeau.ones(3, 3)).item() == 1
    for order in (None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf):
        near(linalg.norm(A[0], order), np.linalg.norm(a[0], order))
        if order is not None:
            near(linalg.matrix_norm(A, order, (2, 0), keepdim=True), np.linalg.norm(a, order, (2, 0), keepdims=True))
            near(linalg.cond(A[0], order), np.linalg.cond(a[0], order), 1e-8)
    for order in (0, 1, 2, 3.5, np.inf, -np.inf):
        near(linalg.vector_norm(A, order, 1), np.linalg.norm(a, order, 1))
    near(linalg.multi_dot([A[0], B[0], B[0].mT, A[1][0]]), np.linalg.multi_dot([a[0], b[0], b[0].T, a[1][0]]))
    near(
        linalg.tensorsolve(
            flambeau.tensor(a.reshape(3, 4, 4)[:, :, :3].reshape(2, 3, 6)), flambeau.ones(2, 3, dtype=flambeau.float64)
        ),
        np.linalg.tensorsolve(a[:, :, :3].reshape(2, 3, 6), np.ones((2, 3))),
        1e-8,
    )


GRADIENTS = {
    "inv": linalg.inv, "det": linalg.det, "slogdet": lambda x: linalg.slogdet(x)[1],
    "cholesky": lambda x: linalg.cholesky(x @ linalg_adjoint(x)),
    "qr": lambda x: linalg.qr(x)[1].abs(), "svdvals": linalg.svdvals, "svd": lambda x: linalg.svd(x[..., :2],
    False)[0].abs(), "eigh": lambda x: linalg.eigh(x + linalg_adjoint(x))[1].abs(),
    "eig": lambda x: linalg.eig(x)[1].abs(), "lu": lambda x: linalg.lu(x)[1:], "wide": lambda x: linalg.lu_factor(x[...,
    :2, :])[0], "tall": lambda x: linalg.lu_factor(x[..., :2])[0],
    "pinv": lambda x: linalg.pinv(x[..., :2]), "exp": linalg.matrix_exp, "solve": lambda x: linalg.solve(x, x * x),
    "triangular": lambda x: linalg.solve_triangular(x, x * 2, upper=True, left=False),
    "nuc": lambda x: linalg.norm(x, "nuc"), "power": lambda x: linalg.matrix_power(x, 3),
}  # fmt: skip


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name: str, complex_: bool) -> None:
    x = tensor(3, 3, complex_=complex_)
    assert gradcheck(GRADIENTS[name], (x,))


@pytest.mark.parametrize("name", ["inv", "det", "cholesky", "svdvals", "solve", "exp", "lu"])
def test_second_derivatives(name: str) -> None:
    assert gradgradcheck(GRADIENTS[name], (tensor(3, 3),))


def test_gradient_of_a_singular_determinant() -> None:
    x = flambeau.tensor([[1.0, 2.0], [2.0, 4.0]], requires_grad=True)
    linalg.det(x).backward()
    near(x.grad, np.array([[4, -2], [-2, 1]]), 1e-5)


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize(("m", "n"), [(7, 3), (3, 7), (90, 70), (1, 1)])
def test_least_squares_of_batches(m: int, n: int, complex_: bool) -> None:
    A, B = tensor(2, m, n, complex_=complex_).detach(), tensor(2, m, 3, complex_=complex_).detach()
    A[1, :, 0] = 0
    wanted = np.linalg.pinv(A.numpy()) @ B.numpy()
    ranks = np.linalg.matrix_rank(A.numpy())
    for driver in ("gelsy", "gelsd"):
        X, residuals, rank, _ = linalg.lstsq(A, B, driver=driver)
        near(X, wanted, 1e-8)
        near(rank, ranks)
        assert residuals.shape == (0,) and residuals.dtype is flambeau.float64
        assert linalg.lstsq(A.clone().requires_grad_(), B, driver=driver).residuals.requires_grad
    X, residuals, rank, _ = linalg.lstsq(A[0], B[0], driver="gels")
    near(X, wanted[0], 1e-8)
    off = np.square(np.abs(A[0].numpy() @ wanted[0] - B[0].numpy())).sum(0)
    near(residuals, off if m > n else np.empty(0), 1e-8)
    assert rank.shape == (0,)


@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("n", [1, 6, 80])
def test_solutions_by_symmetric_factors(n: int, hermitian: bool) -> None:
    A, B = tensor(2, n, n, complex_=True).detach(), tensor(2, n, 3, complex_=True).detach()
    S = A + (linalg_adjoint(A) if hermitian else A.mT)
    S[0].diagonal()[: n // 2] = 0  # blocks of two
    factors, pivots = linalg.ldl_factor(S, hermitian=hermitian)
    near(linalg.ldl_solve(factors, pivots, B, hermitian=hermitian), np.linalg.solve(S.numpy(), B.numpy()), 1e-8)
    for wrong in (0, n + 1, -n - 1):
        with pytest.raises(RuntimeError, match="no exchanges"):
            linalg.ldl_solve(factors, flambeau.full_like(pivots, wrong), B)


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("n", [5, 100])
def test_products_with_the_orthogonal_factor(n: int, complex_: bool) -> None:
    A, C = (tensor(n, n, complex_=complex_).detach() for _ in range(2))
    raw, tau = flambeau.geqrf(A)
    Q = np.linalg.qr(A.numpy())[0]
    Q = Q * np.sign((Q.conj() * flambeau.orgqr(raw, tau).numpy()).sum(0))
    for transpose in (False, True):
        q = Q.conj().T if transpose else Q
        near(flambeau.ormqr(raw, tau, C[:, :3], transpose=transpose), q @ C.numpy()[:, :3], 1e-9)
        near(flambeau.ormqr(raw, tau, C[:4], False, transpose), C.numpy()[:4] @ q, 1e-9)


@pytest.mark.parametrize("n", [20, 64, 100])
def test_gradient_of_the_determinants_of_matrices_close_to_singular_ones(n: int) -> None:
    smallest = [1.0, 1e-4, 1e-9, 1e-13, 0.0]
    u, v = (np.linalg.qr(RNG.standard_normal((len(smallest), n, n)))[0] for _ in range(2))
    values = np.ones((len(smallest), n))
    values[:, -1] = smallest
    x = flambeau.tensor(u * values[:, None] @ v, requires_grad=True)
    linalg.det(x).sum().backward()
    others = np.stack([np.delete(values, i, axis=-1).prod(-1) for i in range(n)], -1)
    signs = np.rint(np.linalg.det(u) * np.linalg.det(v))[:, None, None]
    near(x.grad, signs * (u * others[:, None]) @ v, 1e-11)


@pytest.mark.parametrize("complex_", [False, True])
def test_determinants_of_larger_matrices(complex_: bool) -> None:
    A = tensor(3, 80, 80, complex_=complex_).detach()
    sign, log = np.linalg.slogdet(A.numpy())
    near(linalg.slogdet(A)[0], sign)
    near(linalg.slogdet(A)[1], log)
    near(linalg.det(A / 4), np.linalg.det(A.numpy() / 4))
    A[1, :, 3] = 0
    A[2, 5, 5] = math.nan
    sign, log = linalg.slogdet(A)
    assert sign[1] == 0 and log[1] == -math.inf and linalg.det(A)[1] == 0
    assert log[2].isnan() and linalg.det(A)[2].isnan()


def test_errors() -> None:
    zero, ones = flambeau.zeros(2, 2), flambeau.ones(2, 3)
    with pytest.raises(linalg.LinAlgError, match="singular"):
        linalg.inv(zero)
    with pytest.raises(linalg.LinAlgError, match="Batch element 1"):
        linalg.solve(flambeau.stack([flambeau.eye(2), zero]), flambeau.ones(2, 2, 1))
    with pytest.raises(linalg.LinAlgError, match="positive-definite"):
        linalg.cholesky(-flambeau.eye(3))
    assert linalg.cholesky_ex(-flambeau.eye(3)).info.item() == 1 and linalg.inv_ex(zero).info.item() == 1
    for call in (
        lambda: linalg.inv(ones),
        lambda: linalg.det(ones),
        lambda: linalg.svd(ones[0]),
        lambda: linalg.inv(zero.long()),
        lambda: linalg.solve(zero, ones.mT),
    ):
        with pytest.raises(RuntimeError):
            call()


def test_empty_and_meta() -> None:
    none = flambeau.empty(0, 3, 3)
    assert (
        linalg.inv(none).shape == (0, 3, 3)
        and linalg.det(none).shape == (0,)
        and linalg.det(flambeau.empty(0, 0)).item() == 1
    )
    assert linalg.svd(flambeau.empty(2, 0, 3)).Vh.shape == (2, 3, 3)
    shapes = [t.shape for t in linalg.svd(flambeau.empty(4, 5, 3, device="meta"), full_matrices=False)]
    assert shapes == [(4, 5, 3), (4, 3), (4, 3, 3)]
    assert flambeau.fft.rfft(flambeau.empty(4, 5, device="meta")).shape == (4, 3)


# -- Fourier transforms ------------------------------------------------------------------------------

TRANSFORMS = [
    "fft",
    "ifft",
    "rfft",
    "irfft",
    "hfft",
    "ihfft",
    "fftn",
    "ifftn",
    "rfftn",
    "irfftn",
    "fft2",
    "ifft2",
    "rfft2",
    "irfft2",
]


@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name: str, norm: str | None) -> None:
    x = tensor(3, 6)
    function = getattr(flambeau.fft, name)
    near(function(x, norm=norm), getattr(np.fft, name)(x.detach().numpy(), norm=norm))
    if name.endswith("fft"):
        near(function(x, 5, 0, norm), getattr(np.fft, name)(x.detach().numpy(), 5, 0, norm))
    else:
        near(function(x, (2, 7), norm=norm), getattr(np.fft, name)(x.detach().numpy(), (2, 7), (-2, -1), norm))
    assert gradcheck(lambda t: function(t, norm=norm), (x,))


def test_hermitian_transforms_are_inverses() -> None:
    x = tensor(4, 5, 6).detach()
    near(flambeau.fft.hfftn(flambeau.fft.ihfftn(x), s=(4, 5, 6)), x)
    near(flambeau.fft.irfftn(flambeau.fft.rfftn(x), s=(4, 5, 6)), x)


def test_frequencies() -> None:
    for n in (1, 4, 7):
        near(flambeau.fft.fftfreq(n, 0.5, dtype=flambeau.float64), np.fft.fftfreq(n, 0.5))
        near(flambeau.fft.rfftfreq(n, 2.0, dtype=flambeau.float64), np.fft.rfftfreq(n, 2.0))
    x = np.arange(15).reshape(3, 5)
    near(flambeau.fft.fftshift(flambeau.tensor(x)), np.fft.fftshift(x))
    near(flambeau.fft.ifftshift(flambeau.tensor(x), 1), np.fft.ifftshift(x, 1))


def test_transform_errors() -> None:
    x = flambeau.ones(3, 4)
    for call in (
        lambda: flambeau.fft.fft(x, 0),
        lambda: flambeau.fft.fft(x, norm="none"),
        lambda: flambeau.fft.rfft(x + 0j),
        lambda: flambeau.fft.fftn(x, dim=(0, 0)),
        lambda: flambeau.fft.fft(x.half()),
    ):
        with pytest.raises(RuntimeError):
            call()


@pytest.mark.parametrize("name", ["hann", "hamming", "blackman", "bartlett"])
@pytest.mark.parametrize("periodic", [False, True])
def test_windows(name: str, periodic: bool) -> None:
    for n in (1, 2, 9):
        found = getattr(flambeau, f"{name}_window")(n, periodic, dtype=flambeau.float64)
        near(found, scipy.signal.get_window(name, n, fftbins=periodic))
    near(
        flambeau.kaiser_window(9, periodic, 5.0, dtype=flambeau.float64),
        scipy.signal.get_window(("kaiser", 5.0), 9, fftbins=periodic),
    )


def test_spectrogram_and_back() -> None:
    torch = pytest.importorskip("torch")
    x = tensor(2, 100)
    w = flambeau.hann_window(16, dtype=flambeau.float64)
    ours = flambeau.stft(x, 20, 5, 16, w, return_complex=True)
    reference = torch.stft(
        torch.tensor(x.detach().numpy()), 20, 5, 16, torch.hann_window(16, dtype=torch.float64), return_complex=True
    )
    near(ours, reference.numpy())
    near(flambeau.istft(ours, 20, 5, 16, w, length=100), x)
    assert gradcheck(
        lambda t: flambeau.istft(flambeau.stft(t, 8, return_complex=True) * 1j, 8),
        (x[0, :20].detach().requires_grad_(),),
    )


def test_short_integers_in_contractions() -> None:
    """Sums within ``einsum`` are int64 as any sum of integers; ``tensordot`` keeps the type of its operands."""
    x, y = flambeau.full((1, 2, 3), 100, dtype=flambeau.uint8), flambeau.ones(3, dtype=flambeau.uint8)
    found = flambeau.einsum("...ik,...j->ij", x, y)
    assert found.dtype is flambeau.int64 and found.tolist() == [[300] * 3] * 2
    assert flambeau.einsum("aij,j->ai", x // 100, y).dtype is flambeau.uint8
    one = flambeau.ones(1, 1, 1, dtype=flambeau.int32)
    many = flambeau.ones(2, 1, 2, dtype=flambeau.int32)
    found = flambeau.tensordot(one, many, dims=([0, 1], [2, 0]))
    assert found.dtype is flambeau.int32 and found.tolist() == [[4]]
    places = flambeau.tensor([0, 1, 1])
    mean = flambeau.zeros(3, dtype=flambeau.uint8).scatter_reduce(0, places, y * 6, "mean")
    assert mean.dtype is flambeau.uint8 and mean.tolist() == [3, 4, 0]


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 5, 9, 9), (70, 70), (0, 0), (0, 3, 3)])
@pytest.mark.parametrize("scale", [1e-3, 0.3, 4.0])
def test_exponentials_of_single_precision(shape: tuple[int, ...], scale: float) -> None:
    a = np.random.default_rng(5).standard_normal(shape).astype(np.float32) * np.float32(scale)
    a = a * np.float32(1.0 if shape[-1] < 50 else 0.2)
    found = flambeau.linalg.matrix_exp(flambeau.from_numpy(a))
    assert found.dtype is flambeau.float32
    assert found.shape == shape
    want = scipy.linalg.expm(a.astype(np.float64)) if a.size else a
    size = np.abs(want).max(axis=(-2, -1), keepdims=True) if a.size else 1
    assert (np.abs(found.numpy() - want) <= 2e-7 * size).all()
    assert flambeau.linalg.matrix_exp(flambeau.full((2, 2), float("inf"))).isnan().all()


@pytest.mark.parametrize(
    "shapes",
    [((2, 5), (2, 2), (2, 5)), ((5, 2), (3,), (5, 2)), ((3, 5, 3), (2, 3), (3, 5, 2)), ((2, 5, 3), (2, 3), (5, 3))],
)
def test_reflections_that_do_not_fit_are_refused(shapes: Any) -> None:
    with pytest.raises(RuntimeError, match=r"torch\.ormqr"):
        flambeau.ormqr(*map(flambeau.ones, shapes))
