"""Decompositions of matrices by LAPACK (through numpy and scipy), and their derivatives.

Every operator here takes batches: the last two dimensions are the matrix.  The derivatives follow M. Giles, "An
extended collection of matrix derivative results for forward and reverse mode algorithmic differentiation" (2008), with
the parts of complex matrices after C. Hubig et al. and the rank-deficient ones after G. Golub and V. Pereyra (1973).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import device as devices
from .. import dtype as dtypes
from .. import template
from ..dtype import dtype as dtype_
from ..layout import dense
from ..operator import operator
from ..tensor import Tensor, empty, from_numpy, numpy_view
from ..transform.level import recorded
from .join import cat
from .shape import view_as_real

__all__ = ["LinAlgError", "adjoint", "check_floating", "check_square"]


class LinAlgError(RuntimeError):
    """A matrix has not the property that an operation needs."""


def _scipy(module: str) -> Any:
    """A module of scipy, imported by the first operator that needs it."""
    return importlib.import_module(f"scipy.{module}")


def check_floating(name: str, *tensors: Tensor) -> None:
    """Raises RuntimeError for element types that LAPACK does not know."""
    for t in tensors:
        if t.dtype.wide is not t.dtype:
            raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {t.dtype}")
        if t.dtype.kind not in "fc":
            raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {t.dtype}")
        if t.dtype is not tensors[0].dtype:
            raise RuntimeError(
                f"{name}: Expected A and B to have the same dtype, but found A of type "
                f"{tensors[0].dtype} and B of type {t.dtype} instead"
            )


def check_matrix(name: str, A: Tensor) -> None:
    """Raises RuntimeError for fewer than two dimensions."""
    if A.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor A must have at least 2 dimensions.")


def check_square(name: str, A: Tensor) -> None:
    """Raises RuntimeError unless the last two dimensions are equal."""
    check_matrix(name, A)
    if A.shape[-1] != A.shape[-2]:
        raise RuntimeError(
            f"{name}: A must be batches of square matrices, but they are {A.shape[-2]} by {A.shape[-1]} matrices"
        )


def adjoint(x: Tensor) -> Tensor:
    """The conjugate transpose of the last two dimensions."""
    x = x.transpose(-2, -1)  # type: ignore[attr-defined]
    return x.conj() if x.dtype.is_complex else x  # type: ignore[attr-defined,no-any-return]


def _diagonal(x: Tensor) -> Tensor:
    return x.diagonal(0, -2, -1)  # type: ignore[attr-defined,no-any-return]


def _without_diagonal(x: Tensor) -> Tensor:
    return x.tril(-1) + x.triu(1)  # type: ignore[attr-defined,no-any-return]


def _skew(x: Tensor) -> Tensor:
    return x - adjoint(x)


def _host(
    specs: Sequence[tuple[Sequence[int], dtype_]], inputs: Sequence[Tensor], compute: Callable[..., Any]
) -> tuple[Tensor, ...]:
    """The results of ``compute`` on numpy arrays; on the meta device tensors of the shapes and types in ``specs``."""
    if any(t.device is devices.meta for t in inputs):
        return tuple(empty(dense(kind, tuple(shape), devices.meta)) for shape, kind in specs)
    found = compute(*[numpy_view(t) for t in inputs])
    found = found if isinstance(found, tuple) else (found,)
    return tuple(
        from_numpy(np.array(a, dtype=kind.numpy, order="C", copy=True).reshape(shape))
        if np.size(a)
        else empty(dense(kind, tuple(shape)))  # numpy's strides of nothing may be 0
        for a, (shape, kind) in zip(found, specs)
    )


def _each(count: int, function: Callable[..., Any], *arrays: np.ndarray) -> list[np.ndarray]:
    """The results of a function of matrices for every matrix of a batch, stacked: ``count`` arrays."""
    batch = arrays[0].shape[:-2]
    rows = [a.reshape((-1, *a.shape[-2:])) for a in arrays]
    found = [function(*matrices) for matrices in zip(*rows)]
    return [np.stack([np.asarray(f[k]) for f in found]).reshape((*batch, *np.shape(found[0][k]))) for k in range(count)]


# -- Cholesky ----------------------------------------------------------------------------------------


@operator(name="_cholesky", kind="eager", method=False, function=False)
def cholesky_kernel(A: Tensor, upper: bool) -> Any:
    """(L, info): ``A = L L^H`` (or ``U^H U``); info is the order of the first minor that is not positive, or 0."""
    batch = A.shape[:-2]

    def compute(a: np.ndarray) -> Any:
        info = np.zeros(batch, np.int32)
        if a.size == 0:
            return a, info
        return template.matrices.cholesky(a, upper)

    return _host([(A.shape, A.dtype), (batch, dtypes.int32)], [A], compute)


@cholesky_kernel.gradient("result0")
def _(ctx, grad, grad_info):  # type: ignore[no-untyped-def]
    lower = adjoint(ctx.results[0]) if ctx.upper else ctx.results[0]
    g = adjoint(grad) if ctx.upper else grad
    inner = adjoint(lower).matmul(g)
    low = inner.tril(-1)
    inner = (low + adjoint(low) + _diagonal(inner).diag_embed()) * 0.5
    half = triangular_kernel.function(lower, inner, False, False, False)  # inner L^-1
    return triangular_kernel.function(adjoint(lower), half, True, True, False)


# -- solving -----------------------------------------------------------------------------------------


@operator(name="_triangular_solve", kind="eager", method=False, function=False)
def triangular_kernel(A: Tensor, B: Tensor, upper: bool, left: bool, unit: bool) -> Tensor:
    """X with ``A X = B`` (or ``X A = B``) for triangular A; batches are equal."""

    def compute(a: np.ndarray, b: np.ndarray) -> Any:
        if b.size == 0 or a.size == 0:
            return np.zeros(b.shape, b.dtype)
        return template.matrices.substitute(a, b, upper, left, unit)

    return _host([(B.shape, B.dtype)], [A, B], compute)[0]


@triangular_kernel.gradient("A", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    gb = triangular_kernel.function(adjoint(ctx.A), grad, not ctx.upper, ctx.left, ctx.unit)
    ga = None
    if ctx.needs("A"):
        ga = -gb.matmul(adjoint(ctx.result)) if ctx.left else -adjoint(ctx.result).matmul(gb)
        off = 1 if ctx.unit else 0
        ga = ga.triu(off) if ctx.upper else ga.tril(-off)
    return ga, gb


@operator(name="_solve", kind="eager", method=False, function=False)
def solve_kernel(A: Tensor, B: Tensor) -> Any:
    """(X, info) with ``A X = B``; info is the place (from 1) of the first pivot that is zero, or 0.  Batches are
    equal."""
    batch = A.shape[:-2]

    def compute(a: np.ndarray, b: np.ndarray) -> Any:
        info = np.zeros(batch, np.int32)
        if b.size == 0 or a.size == 0:
            return np.zeros(b.shape, b.dtype), info
        return template.matrices.solve(a, b)

    return _host([(B.shape, B.dtype), (batch, dtypes.int32)], [A, B], compute)


@solve_kernel.gradient("A", "result0")
def _(ctx, grad, grad_info):  # type: ignore[no-untyped-def]
    gb = solve_kernel.function(adjoint(ctx.A), grad)[0]
    return -gb.matmul(adjoint(ctx.results[0])) if ctx.needs("A") else None, gb


@operator(name="_inverse", kind="eager", method=False, function=False)
def inverse_kernel(A: Tensor) -> Any:
    """(inverse, info); info is the place (from 1) of the first pivot that is zero, or 0."""
    batch = A.shape[:-2]

    def compute(a: np.ndarray) -> Any:
        info = np.zeros(batch, np.int32)
        if a.size == 0:
            return a, info
        try:
            return np.linalg.inv(a), info
        except np.linalg.LinAlgError:
            getrf, getri = _scipy("linalg").get_lapack_funcs(("getrf", "getri"), (a,))

            def one(m: np.ndarray) -> Any:
                factors, pivots, failed = getrf(m)
                return (factors, np.int32(failed)) if failed else (getri(factors, pivots)[0], np.int32(0))

            return tuple(_each(2, one, a))

    return _host([(A.shape, A.dtype), (batch, dtypes.int32)], [A], compute)


@inverse_kernel.gradient("result0")
def _(ctx, grad, grad_info):  # type: ignore[no-untyped-def]
    back = adjoint(ctx.results[0])
    return -back.matmul(grad).matmul(back)


# -- LU ----------------------------------------------------------------------------------------------


@operator(name="_lu_factor", kind="eager", method=False, function=False)
def lu_kernel(A: Tensor, pivot: bool) -> Any:
    """(LU, pivots, info): both factors in one matrix, row exchanges counted from 1, place of the first pivot that is
    zero or 0."""
    m, n = A.shape[-2:]
    k, batch = min(m, n), A.shape[:-2]

    def compute(a: np.ndarray) -> Any:
        if a.size == 0:
            return a, np.broadcast_to(np.arange(1, k + 1, dtype=np.int32), (*batch, k)), np.zeros(batch, np.int32)
        if not pivot:
            return tuple(_each(3, _without_pivots, a))
        return template.matrices.lu(a)

    return _host([(A.shape, A.dtype), ((*batch, k), dtypes.int32), (batch, dtypes.int32)], [A], compute)


def _without_pivots(a: np.ndarray) -> Any:
    """Gaussian elimination in the order of the rows."""
    a = a.copy()
    k = min(a.shape)
    failed = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        for i in range(k):
            if a[i, i] == 0 and not failed:
                failed = i + 1
            a[i + 1 :, i] /= a[i, i]
            a[i + 1 :, i + 1 :] -= np.outer(a[i + 1 :, i], a[i, i + 1 :])
    return a, np.arange(1, k + 1), failed


@operator(name="_permutation", kind="eager", method=False, function=False, differentiable=False)
def permutation_kernel(pivots: Tensor, n: int) -> Tensor:
    """Row exchanges (from 1) as a permutation: entry i is the row of A that is row i of L U."""
    batch = pivots.shape[:-1]

    return _host([((*batch, n), dtypes.int64)], [pivots], lambda p: template.matrices.permutations(p, n))[0]


def permutation_matrix(pivots: Tensor, n: int, kind: dtype_) -> Tensor:
    """P with ``A = P L U``."""
    order = permutation_kernel.function(pivots, n)
    rows = order.unsqueeze(-2)
    index = (
        rows.new_tensor(range(n), dtype=dtypes.int64).unsqueeze(-1)
        if rows.device is not devices.meta
        else rows.new_empty((n, 1))
    )
    return (rows == index).to(kind)  # type: ignore[no-any-return]


def unpack_factors(LU: Tensor) -> tuple[Tensor, Tensor]:
    """(L, U) from both in one matrix."""
    m, n = LU.shape[-2:]
    k = min(m, n)
    low = LU.narrow(-1, 0, k).tril(-1)  # type: ignore[attr-defined]
    one = low.new_ones((k,)).diag_embed()
    if m > k:
        one = pad_rows(one, m - k)
    return low + one, LU.narrow(-2, 0, k).triu()  # type: ignore[attr-defined]


def pad_rows(x: Tensor, count: int) -> Tensor:
    """x with rows of zeros below."""
    return x.new_zeros((*x.shape[:-2], x.shape[-2] + count, x.shape[-1])).slice_scatter(x, -2, 0, x.shape[-2])  # type: ignore[attr-defined,no-any-return]


@lu_kernel.gradient("result0", "result1")
def _(ctx, grad, grad_pivots, grad_info):  # type: ignore[no-untyped-def]
    LU, pivots = ctx.results[0], ctx.results[1]
    m, n = LU.shape[-2:]
    k = min(m, n)
    P = permutation_matrix(pivots, m, LU.dtype)
    L, U = unpack_factors(LU)
    gL, gU = grad.narrow(-1, 0, k).tril(-1), grad.narrow(-2, 0, k).triu()
    L1, U1 = L.narrow(-2, 0, k), U.narrow(-1, 0, k)
    gL1, gU1 = gL.narrow(-2, 0, k), gU.narrow(-1, 0, k)

    def by_lower(x: Tensor) -> Tensor:  # L1^-H x
        return triangular_kernel.function(adjoint(L1), x, True, True, True)  # type: ignore[no-any-return]

    def by_upper(x: Tensor) -> Tensor:  # x U1^-H
        return triangular_kernel.function(adjoint(U1), x, False, False, False)  # type: ignore[no-any-return]

    inner_low, inner_up = adjoint(L1).matmul(gL1), gU1.matmul(adjoint(U1))
    right = below = None
    if n > k:
        gU2, U2 = gU.narrow(-1, k, n - k), U.narrow(-1, k, n - k)
        right = by_lower(gU2)
        inner_low = inner_low - gU2.matmul(adjoint(U2))
    if m > k:
        gL2, L2 = gL.narrow(-2, k, m - k), L.narrow(-2, k, m - k)
        below = by_upper(gL2)
        inner_up = inner_up - adjoint(L2).matmul(gL2)
    found = by_lower(by_upper(inner_low.tril(-1) + inner_up.triu()))
    if right is not None:
        found = cat([found, right], -1)
    if below is not None:
        found = cat([found, below], -2)
    return P.matmul(found)


# -- orthogonal factors ------------------------------------------------------------------------------


@operator(name="_qr", kind="eager", method=False, function=False)
def qr_kernel(A: Tensor, mode: str) -> Any:
    """(Q, R) with ``A = Q R``: "reduced", "complete", or "r" (Q is empty)."""
    (m, n), batch = A.shape[-2:], A.shape[:-2]
    k = m if mode == "complete" else min(m, n)

    def compute(a: np.ndarray) -> Any:
        if mode == "r":
            return np.zeros((0,), a.dtype), np.linalg.qr(a, "r") if a.size else np.zeros((*batch, k, n), a.dtype)
        if not a.size:
            eye = np.broadcast_to(np.eye(m, k, dtype=a.dtype), (*batch, m, k))
            return eye, np.zeros((*batch, k, n), a.dtype)
        return tuple(np.linalg.qr(a, mode))

    return _host([((0,) if mode == "r" else (*batch, m, k), A.dtype), ((*batch, k, n), A.dtype)], [A], compute)


@qr_kernel.gradient("result0", "result1")
def _(ctx, grad_q, grad_r):  # type: ignore[no-untyped-def]
    if ctx.mode == "r":
        raise RuntimeError(
            "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. "
            "Please use linalg.qr(A, mode='reduced') if you are going to require gradients."
        )
    Q, R = ctx.results
    m, n = Q.shape[-2], R.shape[-1]
    if ctx.mode == "complete" and m > n:
        raise RuntimeError("The QR decomposition is not differentiable when mode='complete' and nrows > ncols.")
    gq = Q * 0 if grad_q is None else grad_q
    gr = R * 0 if grad_r is None else grad_r
    k = Q.shape[-1]
    if n > k:  # the columns beyond are Q^H A
        g_rest, rest = gr.narrow(-1, k, n - k), R.narrow(-1, k, n - k)
        gq = gq + Q.matmul(rest).matmul(adjoint(g_rest))
        found = _square_qr(Q, R.narrow(-1, 0, k), gq, gr.narrow(-1, 0, k))
        return cat([found, Q.matmul(g_rest)], -1)
    return _square_qr(Q, R, gq, gr)


def _square_qr(Q: Tensor, R: Tensor, gq: Tensor, gr: Tensor) -> Tensor:
    """The gradient where R is square: ``(gQ + Q copy(R gR^H - gQ^H Q)) R^-H``, "copy" mirroring the lower triangle."""
    inner = R.matmul(adjoint(gr)) - adjoint(gq).matmul(Q)  # type: ignore[attr-defined]
    low = inner.tril(-1)
    diagonal = _diagonal(inner)
    diagonal = _real(diagonal).to(inner.dtype) if inner.dtype.is_complex else diagonal
    mirrored = low + adjoint(low) + diagonal.diag_embed()  # type: ignore[attr-defined]
    return triangular_kernel.function(adjoint(R), gq + Q.matmul(mirrored), False, False, False)  # type: ignore[attr-defined,no-any-return]


def _real(x: Tensor) -> Tensor:
    return view_as_real.function(x).select(-1, 0) if x.dtype.is_complex else x  # type: ignore[no-any-return]


# -- singular values ---------------------------------------------------------------------------------


def _decompose(a: np.ndarray, full: bool) -> Any:
    """(U, S, Vh) of matrices, with the signs of PyTorch's.

    LAPACK brings real matrices with 11/6 times as many columns as rows into a triangle before it makes them
    bidiagonal.  MKL, which PyTorch uses, does so only from about 18 times; the signs of singular vectors tell.  So the
    triangle is made here, and LAPACK given a matrix that it does not think wide.
    """
    m, n = a.shape[-2:]
    if a.dtype.kind == "c" or m < 2 or not 11 * m // 6 <= n < 18 * m:
        return tuple(np.linalg.svd(a, full_matrices=full))
    q, r = np.linalg.qr(a.swapaxes(-1, -2), mode="complete" if full else "reduced")
    size = max(m, 3)
    square = np.zeros((*a.shape[:-2], size, size + 1), a.dtype)
    square[..., :m, :m] = r[..., :m, :].swapaxes(-1, -2)
    u, s, vh = np.linalg.svd(square, full_matrices=False)
    if not (s[..., m - 1] > 0).all():  # vectors of singular values 0 may lie in the columns that were added
        return tuple(np.linalg.svd(a, full_matrices=full))
    rows = q.swapaxes(-1, -2)
    vh = np.matmul(vh[..., :m, :m], rows[..., :m, :])
    return u[..., :m, :m], s[..., :m], np.concatenate([vh, rows[..., m:, :]], -2)


@operator(name="_svd", kind="eager", method=False, function=False)
def svd_kernel(A: Tensor, full: bool) -> Any:
    """(U, S, Vh) with ``A = U diag(S) Vh``, S descending."""
    (m, n), batch = A.shape[-2:], A.shape[:-2]
    k = min(m, n)

    def compute(a: np.ndarray) -> Any:
        if not a.size:
            left = np.broadcast_to(np.eye(m, m if full else k, dtype=a.dtype), (*batch, m, m if full else k))
            right = np.broadcast_to(np.eye(n if full else k, n, dtype=a.dtype), (*batch, n if full else k, n))
            return left, np.zeros((*batch, k)), right
        try:
            return _decompose(a, full)
        except np.linalg.LinAlgError:
            raise LinAlgError(
                "linalg.svd: The algorithm failed to converge because the input matrix is "
                "ill-conditioned or has too many repeated singular values, or contains non-finite "
                "elements."
            ) from None

    kind = A.dtype
    return _host(
        [((*batch, m, m if full else k), kind), ((*batch, k), kind.to_real()), ((*batch, n if full else k, n), kind)],
        [A],
        compute,
    )


@svd_kernel.gradient("result0", "result1", "result2")
def _(ctx, gU, gS, gVh):  # type: ignore[no-untyped-def]
    U, S, Vh = ctx.results
    k = S.shape[-1]
    m, n = U.shape[-2], Vh.shape[-1]
    U, Vh = U.narrow(-1, 0, k), Vh.narrow(-2, 0, k)
    inner = None if gS is None else gS.to(U.dtype).diag_embed()
    if gU is None and gVh is None:
        return U.matmul(inner).matmul(Vh)
    V = adjoint(Vh)
    s = S.to(U.dtype)
    squares = S * S
    gaps = squares.unsqueeze(-2) - squares.unsqueeze(-1)
    gaps = gaps + gaps.new_ones((k,)).diag_embed()
    left = right = None
    if gU is not None:
        gU = gU.narrow(-1, 0, k)
        UhgU = adjoint(U).matmul(gU)
        part = _without_diagonal(_skew(UhgU) / gaps) * s.unsqueeze(-2)
        if U.dtype.is_complex:
            part = part + (_diagonal(_skew(UhgU)) / (2 * s)).diag_embed()
        inner = part if inner is None else inner + part
        if m > k:
            left = ((gU - U.matmul(UhgU)) / s.unsqueeze(-2)).matmul(Vh)
    if gVh is not None:
        gV = adjoint(gVh.narrow(-2, 0, k))
        VhgV = Vh.matmul(gV)
        part = s.unsqueeze(-1) * _without_diagonal(_skew(VhgV) / gaps)
        inner = part if inner is None else inner + part
        if n > k:
            right = U.matmul(adjoint((gV - V.matmul(VhgV)) / s.unsqueeze(-2)))
    found = U.matmul(inner).matmul(Vh)
    for part in (left, right):
        found = found if part is None else found + part
    return found


@operator(name="_svdvals", kind="eager", method=False, function=False)
def svdvals_kernel(A: Tensor) -> Tensor:
    """The singular values, descending."""
    (m, n), batch = A.shape[-2:], A.shape[:-2]

    def compute(a: np.ndarray) -> Any:
        if not a.size:
            return np.zeros((*batch, min(m, n)))
        try:
            return np.linalg.svd(a, compute_uv=False)
        except np.linalg.LinAlgError:
            raise LinAlgError(
                "linalg.svd: The algorithm failed to converge because the input matrix is "
                "ill-conditioned or has too many repeated singular values, or contains non-finite "
                "elements."
            ) from None

    return _host([((*batch, min(m, n)), A.dtype.to_real())], [A], compute)[0]


@svdvals_kernel.gradient("A")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    U, _, Vh = svd_kernel.function(ctx.A, False)
    return (U * grad.unsqueeze(-2)).matmul(Vh)


# -- eigenvalues -------------------------------------------------------------------------------------


@operator(name="_eigh", kind="eager", method=False, function=False)
def eigh_kernel(A: Tensor, lower: bool) -> Any:
    """(eigenvalues, eigenvectors) of Hermitian matrices, ascending; one triangle is read."""
    n, batch = A.shape[-1], A.shape[:-2]

    def compute(a: np.ndarray) -> Any:
        if not a.size:
            return np.zeros((*batch, n)), a
        try:
            return tuple(np.linalg.eigh(a, "L" if lower else "U"))
        except np.linalg.LinAlgError:
            raise LinAlgError(
                "linalg.eigh: The algorithm failed to converge because the input matrix is "
                "ill-conditioned or has too many repeated eigenvalues."
            ) from None

    return _host([((*batch, n), A.dtype.to_real()), (A.shape, A.dtype)], [A], compute)


@eigh_kernel.gradient("result0", "result1")
def _(ctx, gL, gV):  # type: ignore[no-untyped-def]
    values, V = ctx.results
    inner = None if gL is None else gL.to(V.dtype).diag_embed()
    if gV is not None:
        gaps = values.unsqueeze(-2) - values.unsqueeze(-1)
        gaps = gaps + gaps.new_ones((values.shape[-1],)).diag_embed()
        part = _without_diagonal(_skew(adjoint(V).matmul(gV)) / (2 * gaps))
        inner = part if inner is None else inner + part
    return V.matmul(inner).matmul(adjoint(V))


@operator(name="_eigvalsh", kind="eager", method=False, function=False)
def eigvalsh_kernel(A: Tensor, lower: bool) -> Tensor:
    """The eigenvalues of Hermitian matrices, ascending; one triangle is read."""
    n, batch = A.shape[-1], A.shape[:-2]

    def compute(a: np.ndarray) -> Any:
        if not a.size:
            return np.zeros((*batch, n))
        try:
            return np.linalg.eigvalsh(a, "L" if lower else "U")
        except np.linalg.LinAlgError:
            raise LinAlgError(
                "linalg.eigvalsh: The algorithm failed to converge because the input matrix is "
                "ill-conditioned or has too many repeated eigenvalues."
            ) from None

    return _host([((*batch, n), A.dtype.to_real())], [A], compute)[0]


@eigvalsh_kernel.gradient("A")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    V = eigh_kernel.function(ctx.A, ctx.lower)[1]
    return (V * grad.unsqueeze(-2)).matmul(adjoint(V))


@operator(name="_eig", kind="eager", method=False, function=False)
def eig_kernel(A: Tensor) -> Any:
    """(eigenvalues, eigenvectors), complex; the vectors have norm 1."""
    n, batch = A.shape[-1], A.shape[:-2]
    kind = A.dtype.to_complex()

    def compute(a: np.ndarray) -> Any:
        if not a.size:
            return np.zeros((*batch, n)), a
        if not np.isfinite(a).all():
            raise RuntimeError("torch.linalg.eig: input tensor should not contain infs or NaNs.")
        return tuple(np.linalg.eig(a))

    return _host([((*batch, n), kind), (A.shape, kind)], [A], compute)


@eig_kernel.gradient("result0", "result1")
def _(ctx, gL, gV):  # type: ignore[no-untyped-def]
    values, V = ctx.results
    Vh = adjoint(V)
    inner = None if gL is None else gL.diag_embed()
    if gV is not None:
        VhgV = Vh.matmul(gV)
        part = VhgV - Vh.matmul(V) * _real(_diagonal(VhgV)).to(V.dtype).unsqueeze(-2)
        gaps = (values.unsqueeze(-2) - values.unsqueeze(-1)).conj()
        gaps = gaps + gaps.new_ones((values.shape[-1],)).diag_embed()
        part = _without_diagonal(part / gaps)
        inner = part if inner is None else inner + part
    found = solve_kernel.function(Vh, inner.matmul(Vh))[0]
    return found if ctx.dtype("A").is_complex else _real(found)


# -- determinants ------------------------------------------------------------------------------------


@operator(name="_det", kind="eager", method=False, function=False)
def det_kernel(A: Tensor) -> Tensor:
    """The determinant."""
    return _host(
        [(A.shape[:-2], A.dtype)], [A], lambda a: np.linalg.det(a) if a.size else np.ones(a.shape[:-2], a.dtype)
    )[0]


@det_kernel.gradient("A", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    if ctx.A.shape[-1] == 1:
        return grad.unsqueeze(-1).unsqueeze(-1)
    if recorded():  # a form that has derivatives itself
        scale = (grad * (ctx.result.conj() if ctx.result.dtype.is_complex else ctx.result)).unsqueeze(-1).unsqueeze(-1)
        return scale * adjoint(inverse_kernel.function(ctx.A)[0])
    return grad.unsqueeze(-1).unsqueeze(-1) * cofactors.function(ctx.A)


@operator(name="_cofactors", kind="eager", method=False, function=False, differentiable=False)
def cofactors(A: Tensor) -> Tensor:
    """``conj(det(A)) A^-H``; through singular values where that is not safe, so that it is right for singular matrices
    as well."""

    def compute(a: np.ndarray) -> np.ndarray:
        if not a.size:
            return a
        with np.errstate(all="ignore"):
            inverse, failed = template.matrices.solve(a, np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape))
            found = np.linalg.det(a).conj()[..., None, None] * inverse.conj().swapaxes(-1, -2)
            size = np.abs(a).sum(-1).max(-1) * np.abs(inverse).sum(-1).max(-1)  # the condition in the norm of rows
        if not failed.any() and np.isfinite(found).all() and (size < 1 / np.sqrt(np.finfo(a.dtype).eps)).all():
            return found
        u, s, vh = np.linalg.svd(a)
        n = s.shape[-1]
        others = np.where(np.eye(n, dtype=bool), s.dtype.type(1), s[..., None, :]).prod(-1)
        sign = (np.linalg.det(u) * np.linalg.det(vh)).conj()[..., None, None]
        return sign * ((u * others[..., None, :]) @ vh)

    return _host([(A.shape, A.dtype)], [A], compute)[0]


@operator(name="_slogdet", kind="eager", method=False, function=False)
def slogdet_kernel(A: Tensor) -> Any:
    """(sign, logarithm of the absolute value) of the determinant."""
    batch = A.shape[:-2]

    def compute(a: np.ndarray) -> Any:
        return tuple(np.linalg.slogdet(a)) if a.size else (np.ones(batch), np.zeros(batch))

    return _host([(batch, A.dtype), (batch, A.dtype.to_real())], [A], compute)


@slogdet_kernel.gradient("A", "result0")
def _(ctx, grad_sign, grad_log):  # type: ignore[no-untyped-def]
    if grad_log is None and (grad_sign is None or not ctx.A.dtype.is_complex):
        return None
    scale = 0 if grad_log is None else grad_log
    if grad_sign is not None and ctx.A.dtype.is_complex:
        sign = ctx.results[0]
        scale = scale - view_as_real.function(grad_sign.conj() * sign).select(-1, 1) * 1j
    if not ctx.A.shape[-1]:
        return ctx.A * 0
    return (scale.unsqueeze(-1).unsqueeze(-1)).to(ctx.A.dtype) * adjoint(inverse_kernel.function(ctx.A)[0])


# -- the rest ----------------------------------------------------------------------------------------


@operator(name="_matrix_exp", kind="eager", method=False, function=False)
def matrix_exp_kernel(A: Tensor) -> Tensor:
    """The exponential of matrices (Al-Mohy and Higham 2009)."""
    return _host([(A.shape, A.dtype)], [A], _exponential)[0]


def _exponential(a: np.ndarray) -> np.ndarray:
    """In double precision: squaring loses digits."""
    return _scipy("linalg").expm(a.astype(np.promote_types(a.dtype, np.float64))) if a.size else a  # type: ignore[no-any-return]


@matrix_exp_kernel.gradient("A")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    # The exponential of [[A^H, G], [0, A^H]] has the derivative of exp at A^H in the direction G at its upper right.
    back = adjoint(ctx.A)
    n = back.shape[-1]
    if not back.numel():
        return back
    top, bottom = cat([back, grad], -1), cat([back * 0, back], -1)
    return matrix_exp_kernel.function(cat([top, bottom], -2)).narrow(-2, 0, n).narrow(-1, n, n)


@operator(name="_lstsq", kind="eager", method=False, function=False, differentiable=False)
def lstsq_kernel(A: Tensor, B: Tensor, rcond: float, driver: str) -> Any:
    """(solution, rank, singular values) of least squares problems; the solution of least norm."""
    (m, n), batch, width = A.shape[-2:], A.shape[:-2], B.shape[-1]
    k = min(m, n)

    def compute(a: np.ndarray, b: np.ndarray) -> Any:
        if not a.size or not b.size:
            return np.zeros((*batch, n, width), b.dtype), np.zeros(batch), np.zeros((*batch, k))
        lstsq = _scipy("linalg").lstsq
        name = {"gels": "gelsy", "gelsy": "gelsy", "gelsd": "gelsd", "gelss": "gelss"}[driver]

        def one(left: np.ndarray, right: np.ndarray) -> Any:
            x, _, rank, s = lstsq(left, right, cond=rcond, lapack_driver=name, check_finite=False)
            return x, np.int64(rank), np.zeros(k) if s is None else s

        return tuple(_each(3, one, a, b))

    specs = [((*batch, n, width), B.dtype), (batch, dtypes.int64), ((*batch, k), A.dtype.to_real())]
    return _host(specs, [A, B], compute)


@operator(name="_geqrf", kind="eager", method=False, function=False, differentiable=False)
def geqrf_kernel(A: Tensor) -> Any:
    """(a, tau): R above the Householder vectors, and their factors."""
    (m, n), batch = A.shape[-2:], A.shape[:-2]
    k = min(m, n)

    def compute(a: np.ndarray) -> Any:
        if not a.size:
            return a, np.zeros((*batch, k))
        (geqrf,) = _scipy("linalg").get_lapack_funcs(("geqrf",), (a,))
        return tuple(_each(2, lambda matrix: geqrf(matrix)[:2], a))

    return _host([(A.shape, A.dtype), ((*batch, k), A.dtype)], [A], compute)


@operator(name="_householder_product", kind="eager", method=False, function=False, differentiable=False)
def householder_kernel(A: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of the reflections in A, of which there is at least one."""

    def compute(a: np.ndarray, t: np.ndarray) -> Any:
        return template.matrices.reflections(a, t) if a.size else a

    return _host([(A.shape, A.dtype)], [A, tau], compute)[0]


@operator(name="_ldl_factor", kind="eager", method=False, function=False, differentiable=False)
def ldl_kernel(A: Tensor, hermitian: bool) -> Any:
    """(LD, pivots, info) of symmetric (or Hermitian) matrices after Bunch and Kaufman; the lower triangle is read."""
    n, batch = A.shape[-1], A.shape[:-2]
    name = "hetrf" if hermitian and A.dtype.is_complex else "sytrf"

    def compute(a: np.ndarray) -> Any:
        if not a.size:
            return a, np.zeros((*batch, n)), np.zeros(batch)
        factor, size = _scipy("linalg").get_lapack_funcs((name, name + "_lwork"), (a,))
        work = int(np.real(size(n, lower=1)[0]))

        def one(matrix: np.ndarray) -> Any:
            found, pivots, failed = factor(matrix, lwork=work, lower=1)
            return np.tril(found), pivots, np.int32(failed)

        return tuple(_each(3, one, a))

    return _host([(A.shape, A.dtype), ((*batch, n), dtypes.int32), (batch, dtypes.int32)], [A], compute)


@operator(name="_ldl_solve", kind="eager", method=False, function=False, differentiable=False)
def ldl_solve_kernel(LD: Tensor, pivots: Tensor, B: Tensor, hermitian: bool) -> Tensor:
    """X with ``A X = B`` for a factored A; batches are equal."""
    name = "hetrs" if hermitian and LD.dtype.is_complex else "sytrs"

    def compute(a: np.ndarray, p: np.ndarray, b: np.ndarray) -> Any:
        if not b.size:
            return b
        found = np.empty_like(b)
        trs = getattr(_scipy("linalg.lapack"), _scipy("linalg.blas").find_best_blas_type((a,))[0] + name, None)
        for index in np.ndindex(*b.shape[:-2]):
            found[index] = (
                trs(a[index], p[index], b[index], lower=1)[0]
                if trs
                else _ldl_solve(a[index], p[index], b[index], hermitian)
            )
        return found

    return _host([(B.shape, B.dtype)], [LD, pivots, B], compute)[0]


def _ldl_solve(a: np.ndarray, pivots: np.ndarray, b: np.ndarray, hermitian: bool) -> np.ndarray:
    """Substitution through Bunch and Kaufman's factors: ``A`` is a product of exchanges, unit lower steps, and blocks
    of 1 or 2."""
    n, x = a.shape[0], b.copy()

    def dual(v: np.ndarray) -> np.ndarray:
        return v.conj() if hermitian else v

    blocks: list[tuple[int, int]] = []
    k = 0
    while k < n:
        size = 1 if pivots[k] > 0 else 2
        last, other = k + size - 1, abs(int(pivots[k])) - 1
        if other != last:
            x[[last, other]] = x[[other, last]]
        x[k + size :] -= a[k + size :, k : k + size] @ x[k : k + size]
        d = a[k : k + size, k : k + size].copy()
        if size == 2:
            d[0, 1] = dual(d[1, 0])
        elif hermitian:
            d = d.real.astype(a.dtype)
        x[k : k + size] = np.linalg.solve(d, x[k : k + size])
        blocks.append((k, size))
        k += size
    for k, size in reversed(blocks):
        x[k : k + size] -= dual(a[k + size :, k : k + size]).T @ x[k + size :]
        last, other = k + size - 1, abs(int(pivots[k])) - 1
        if other != last:
            x[[last, other]] = x[[other, last]]
    return x


# All of these take batches of matrices: one more dimension in front is a larger batch.
for _kernel in (
    cholesky_kernel, triangular_kernel, solve_kernel, inverse_kernel, lu_kernel, permutation_kernel,
    qr_kernel, svd_kernel, svdvals_kernel, eigh_kernel, eigvalsh_kernel, eig_kernel, det_kernel, cofactors,
    slogdet_kernel, matrix_exp_kernel,
    lstsq_kernel, geqrf_kernel, householder_kernel, ldl_kernel, ldl_solve_kernel,
):  # fmt: skip
    _kernel.batching = list
