"""Singular values, eigenvalues, and what is found by them (pseudoinverses, ranks, least squares); kernels by LAPACK,
derivatives, and PyTorch's interfaces."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtype as dtypes
from .. import template
from ..autograd.mode import state as grad_state
from ..dispatch.operator import Operand, operator
from ..layout import dense
from ..tensor import Tensor
from ..transform.level import levels
from . import return_types
from .compare import where
from .lapack import (
    LinAlgError,
    adjoint,
    batches,
    by_columns,
    check_floating,
    check_matrix,
    check_square,
    diagonal_of,
    for_each_matrix,
    is_vector,
    matrix_kernel,
    on_host,
    real_part,
    scipy_module,
)
from .solve import solved

__all__: list[str] = []

_L = "torch.linalg"

# -- singular values -------------------------------------------------------------------------------


def _check(name: str, info: np.ndarray, repeated: str) -> None:
    """Raises LinAlgError for the first matrix that LAPACK refused (info -4: it has nan) or could not decompose."""
    if not info.any():
        return
    at = int(np.flatnonzero(info)[0])
    where_, code = f"(Batch element {at}): " if info.ndim else "", int(info.reshape(-1)[at])
    problem = (
        "contained non-finite values."
        if code < 0
        else f"is ill-conditioned or has too many repeated {repeated} (error code: {code})."
    )
    raise LinAlgError(f"{name}: {where_}The algorithm failed to converge because the input matrix {problem}")


@matrix_kernel("_svd")
def svd_kernel(A: Tensor, full: bool) -> Any:
    """(U, S, Vh) with ``A = U diag(S) Vh``, S descending."""
    (m, n), batch = A.shape[-2:], A.shape[:-2]
    k = min(m, n)

    def compute(a: np.ndarray) -> Any:
        if not a.size:
            left = np.broadcast_to(np.eye(m, m if full else k, dtype=a.dtype), (*batch, m, m if full else k))
            right = np.broadcast_to(np.eye(n if full else k, n, dtype=a.dtype), (*batch, n if full else k, n))
            return left, np.zeros((*batch, k)), right
        *found, info = template.spectra.singular(a, full)
        _check("linalg.svd", info, "singular values")
        return tuple(found)

    kind = A.dtype
    left, right = (*batch, m, m if full else k), (*batch, n if full else k, n)
    return on_host([by_columns(kind, left), dense(kind.to_real(), (*batch, k)), by_columns(kind, right)], [A], compute)


@matrix_kernel("_low_rank", differentiable=False)
def low_rank_kernel(A: Tensor, start: Tensor, steps: int) -> Any:
    """(U, S, Vh) of as many singular values as ``start`` has columns, nearly, by ``steps`` power iterations."""
    (m, n), batch, k = A.shape[-2:], A.shape[:-2], start.shape[-1]

    def compute(a: np.ndarray, columns: np.ndarray) -> Any:
        if not (a.size and k):
            return np.zeros((*batch, m, k)), np.zeros((*batch, k)), np.zeros((*batch, k, n))
        *found, info = template.spectra.low_rank(a, columns, steps)
        _check("linalg.svd", info, "singular values")
        return tuple(found)

    kind = A.dtype
    values, right = dense(kind.to_real(), (*batch, k)), by_columns(kind, (*batch, k, n))
    return on_host([dense(kind, (*batch, m, k)), values, right], [A, start], compute)


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
            part = part + (diagonal_of(_skew(UhgU)) / (2 * s)).diag_embed()
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


@matrix_kernel("_svdvals")
def svdvals_kernel(A: Tensor) -> Tensor:
    """The singular values, descending."""
    (m, n), batch = A.shape[-2:], A.shape[:-2]

    def compute(a: np.ndarray) -> Any:
        if not a.size:
            return np.zeros((*batch, min(m, n)))
        values, info = template.spectra.singular_values(a)
        _check("linalg.svd", info, "singular values")
        return values

    return on_host([dense(A.dtype.to_real(), (*batch, min(m, n)))], [A], compute)[0]


@svdvals_kernel.gradient("A")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    U, _, Vh = svd_kernel.function(ctx.A, False)
    return (U * grad.unsqueeze(-2)).matmul(Vh)


@operator(name="linalg_svd", kind="composite", method=False, namespace=_L, returns=return_types.linalg_svd)
def linalg_svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """(U, S, Vh) with ``A = U diag(S) Vh``, S descending; U and Vh are square for ``full_matrices``."""
    check_floating("linalg.svd", A)
    check_matrix("linalg.svd", A)
    if driver is not None:
        raise RuntimeError(
            "torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend."
        )
    return return_types.linalg_svd(*svd_kernel.function(A, bool(full_matrices)))


@operator(name="linalg_svdvals", kind="composite", method=False, namespace=_L)
def linalg_svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """The singular values, descending."""
    if driver is not None or A.requires_grad or A.ndim < 2:
        return linalg_svd.function(A, False, driver=driver)[1]  # type: ignore[no-any-return]
    check_floating("linalg.svdvals", A)
    return svdvals_kernel.function(A)  # type: ignore[no-any-return]


@operator(kind="composite", returns=return_types.svd)
def svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """(U, S, V) with ``input = U diag(S) V^H``; U and V are zero for ``compute_uv=False``."""
    check_floating("svd", input)
    check_matrix("svd", input)
    U, S, Vh = svd_kernel.function(input, compute_uv and not some)
    if not compute_uv:
        m, n = input.shape[-2:]
        U, Vh = input.new_zeros((*input.shape[:-2], m, m)), input.new_zeros((*input.shape[:-2], n, n))  # type: ignore[attr-defined]
    return return_types.svd(U, S, adjoint(Vh))


# -- eigenvalues -----------------------------------------------------------------------------------


def _without_diagonal(x: Tensor) -> Tensor:
    return x.tril(-1) + x.triu(1)  # type: ignore[attr-defined,no-any-return]


def _skew(x: Tensor) -> Tensor:
    return x - adjoint(x)


@matrix_kernel("_eigh")
def eigh_kernel(A: Tensor, lower: bool) -> Any:
    """(eigenvalues, eigenvectors) of Hermitian matrices, ascending; one triangle is read."""
    n, batch = A.shape[-1], A.shape[:-2]

    def compute(a: np.ndarray) -> Any:
        if not a.size:
            return np.zeros((*batch, n)), a
        values, vectors, info = template.spectra.eigen_hermitian(a, lower, True)
        _check("linalg.eigh", info, "eigenvalues")
        return values, vectors

    return on_host([dense(A.dtype.to_real(), (*batch, n)), by_columns(A.dtype, A.shape)], [A], compute)


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


@matrix_kernel("_eigvalsh")
def eigvalsh_kernel(A: Tensor, lower: bool) -> Tensor:
    """The eigenvalues of Hermitian matrices, ascending; one triangle is read."""
    check_square("linalg.eigvalsh", A)  # ranks and others come here without their callers' check
    n, batch = A.shape[-1], A.shape[:-2]

    def compute(a: np.ndarray) -> Any:
        if not a.size:
            return np.zeros((*batch, n))
        values, _, info = template.spectra.eigen_hermitian(a, lower, False)
        _check("linalg.eigvalsh", info, "eigenvalues")
        return values

    return on_host([dense(A.dtype.to_real(), (*batch, n))], [A], compute)[0]


@eigvalsh_kernel.gradient("A")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    V = eigh_kernel.function(ctx.A, ctx.lower)[1]
    return (V * grad.unsqueeze(-2)).matmul(adjoint(V))


@matrix_kernel("_eig")
def eig_kernel(A: Tensor) -> Any:
    """(eigenvalues, eigenvectors), complex; the vectors have norm 1."""
    n, batch = A.shape[-1], A.shape[:-2]
    kind = A.dtype.to_complex()

    def compute(a: np.ndarray) -> Any:
        if not a.size:
            return np.zeros((*batch, n)), a
        if not np.isfinite(a).all():
            raise RuntimeError("torch.linalg.eig: input tensor should not contain infs or NaNs.")
        values, vectors, info = template.spectra.eigen(a, True)
        _check("linalg.eig", info, "eigenvalues")
        return values, vectors

    return on_host([dense(kind, (*batch, n)), by_columns(kind, A.shape)], [A], compute)


@eig_kernel.gradient("result0", "result1")
def _(ctx, gL, gV):  # type: ignore[no-untyped-def]
    values, V = ctx.results
    Vh = adjoint(V)
    inner = None if gL is None else gL.diag_embed()
    if gV is not None:
        VhgV = Vh.matmul(gV)
        part = VhgV - Vh.matmul(V) * real_part(diagonal_of(VhgV)).to(V.dtype).unsqueeze(-2)
        gaps = (values.unsqueeze(-2) - values.unsqueeze(-1)).conj()
        gaps = gaps + gaps.new_ones((values.shape[-1],)).diag_embed()
        part = _without_diagonal(part / gaps)
        inner = part if inner is None else inner + part
    found = solved(Vh, inner.matmul(Vh))[0]
    return found if ctx.dtype("A").is_complex else real_part(found)


@matrix_kernel("_eigvals")
def eigvals_kernel(A: Tensor) -> Tensor:
    """The eigenvalues, complex."""

    def compute(a: np.ndarray) -> Any:
        if not a.size:
            return np.zeros(a.shape[:-1])
        values, _, info = template.spectra.eigen(a, False)
        _check("linalg.eigvals", info, "eigenvalues")
        return values

    return on_host([dense(A.dtype.to_complex(), A.shape[:-1])], [A], compute)[0]


@eigvals_kernel.gradient("A")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    V = eig_kernel.function(ctx.A)[1]
    Vh = adjoint(V)
    found = solved(Vh, grad.diag_embed().matmul(Vh))[0]
    return found if ctx.dtype("A").is_complex else real_part(found)


def _triangle(UPLO: str) -> bool:
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return UPLO.upper() == "L"


@operator(name="linalg_eigh", kind="composite", method=False, namespace=_L, returns=return_types.linalg_eigh)
def linalg_eigh(A: Tensor, UPLO: str = "L") -> Any:
    """(eigenvalues, eigenvectors) of Hermitian matrices, ascending; only the triangle ``UPLO`` is read."""
    check_floating("linalg.eigh", A)
    check_square("linalg.eigh", A)
    return return_types.linalg_eigh(*eigh_kernel.function(A, _triangle(UPLO)))


@operator(name="linalg_eigvalsh", kind="composite", method=False, namespace=_L)
def linalg_eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """The eigenvalues of Hermitian matrices, ascending."""
    if A.requires_grad:
        return linalg_eigh.function(A, UPLO)[0]  # type: ignore[no-any-return]
    check_floating("linalg.eigh", A)
    check_square("linalg.eigh", A)
    return eigvalsh_kernel.function(A, _triangle(UPLO))  # type: ignore[no-any-return]


@operator(name="linalg_eig", kind="composite", method=False, namespace=_L, returns=return_types.linalg_eig)
def linalg_eig(A: Tensor) -> Any:
    """(eigenvalues, eigenvectors), complex and in no particular order; the vectors have norm 1."""
    check_floating("linalg.eig", A)
    check_square("linalg.eig", A)
    return return_types.linalg_eig(*eig_kernel.function(A))


@operator(name="linalg_eigvals", kind="composite", method=False, namespace=_L)
def linalg_eigvals(A: Tensor) -> Tensor:
    """The eigenvalues, complex and in no particular order; nan for matrices with infinite elements or nan."""
    if A.requires_grad:
        return linalg_eig.function(A)[0]  # type: ignore[no-any-return]
    check_floating("linalg.eig", A)
    check_square("linalg.eig", A)
    return eigvals_kernel.function(A)  # type: ignore[no-any-return]


# -- pseudoinverses, ranks, least squares ----------------------------------------------------------


def _tolerance(name: str, A: Tensor, S: Tensor, atol: Any, rtol: Any) -> Tensor:
    """Singular values up to this are taken for zero."""
    if rtol is None:
        eps = {dtypes.float32: 2.0**-23, dtypes.float64: 2.0**-52}[A.dtype.to_real()] * max(A.shape[-2:])
        rtol = where.function(atol > 0, 0.0, eps) if isinstance(atol, Tensor) else 0.0 if atol else eps
    atol = 0.0 if atol is None else atol
    top = S.amax(-1)  # type: ignore[attr-defined]
    for t in (atol, rtol):
        if isinstance(t, Tensor) and t.dtype.is_complex:
            raise RuntimeError(f"{name}: atol and rtol tensors of complex type are not supported.")
    relative = top * rtol
    return relative.clamp(min=atol) if not isinstance(atol, Tensor) else relative.maximum(atol.to(relative.dtype))  # type: ignore[no-any-return]


@operator(name="_pinv", kind="composite", method=False, function=False)
def _pinv(A: Tensor, atol: Operand | None, rtol: Operand | None, hermitian: bool) -> Tensor:
    """The pseudoinverse."""
    if hermitian:
        values, U = eigh_kernel.function(A, True)
        S, V = values.abs(), U
    else:
        U, S, Vh = svd_kernel.function(A, False)
        values, V = S, adjoint(Vh)
    keep = S > _tolerance("linalg.pinv", A, S, atol, rtol).unsqueeze(-1)  # type: ignore[attr-defined]
    inverted = where.function(keep, where.function(keep, values, 1).reciprocal(), 0).to(A.dtype)
    return (V * inverted.unsqueeze(-2)).matmul(adjoint(U))  # type: ignore[no-any-return]


@_pinv.gradient("A", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    # -P^H G P^H + (1 - P^H A^H) ... : Golub and Pereyra 1973
    A, P = ctx.A, ctx.result
    Ph, Gh = adjoint(P), adjoint(grad)
    if A.shape[-2] <= A.shape[-1]:
        K = Gh.matmul(P)
        KPh = K.matmul(Ph)
        return -adjoint(P.matmul(K)) + KPh - A.matmul(P).matmul(KPh) + Ph.matmul(P).matmul(Gh - K.matmul(A))
    K = P.matmul(Gh)
    PhK = Ph.matmul(K)
    return -adjoint(K.matmul(P)) + (Gh - A.matmul(K)).matmul(P).matmul(Ph) + PhK - PhK.matmul(P).matmul(A)


@operator(name="linalg_pinv", kind="composite", method=False, namespace=_L)
def linalg_pinv(A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """Moore and Penrose's pseudoinverse; singular values up to ``max(atol, rtol * greatest)`` count as zero.

    ``rtol`` is by default the greater dimension times the type's epsilon, 0 if ``atol`` is given.
    """
    check_floating("linalg.pinv", A)
    check_matrix("linalg.pinv", A)
    if isinstance(rcond, bool):
        rcond, hermitian = None, rcond
    rtol = rcond if rtol is None else rtol
    if not A.numel():
        return A.transpose(-2, -1).clone()  # type: ignore[attr-defined,no-any-return]
    if isinstance(atol, Tensor) or isinstance(rtol, Tensor):
        atol, rtol = (t.detach() if isinstance(t, Tensor) else t for t in (atol, rtol))  # type: ignore[attr-defined]
    if hermitian:
        check_square("linalg.pinv", A)
    return _pinv_of(A, atol, rtol, bool(hermitian))


def _pinv_of(A: Tensor, atol: Any, rtol: Any, hermitian: bool) -> Tensor:
    return _pinv.function(A, atol, rtol, hermitian)  # type: ignore[no-any-return]


@operator(kind="composite", out=False)
def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """See ``torch.linalg.pinv``."""
    return linalg_pinv.function(input, rcond)  # type: ignore[no-any-return]


@operator(name="linalg_matrix_rank", kind="composite", method=False, namespace=_L)
def linalg_matrix_rank(
    A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Tensor:
    """The number of singular values above ``max(atol, rtol * greatest)``; see ``pinv``."""
    check_floating("linalg.matrix_rank", A)
    check_matrix("linalg.matrix_rank", A)
    if isinstance(tol, bool):
        tol, hermitian = None, tol
    if tol is not None:
        atol, rtol = tol, 0.0
    if hermitian:
        check_square("linalg.matrix_rank", A)
    A = A.detach()  # type: ignore[attr-defined]
    if not A.numel():
        return A.new_zeros(A.shape[:-2], dtype=dtypes.int64)  # type: ignore[attr-defined,no-any-return]
    S = eigvalsh_kernel.function(A, True).abs() if hermitian else svdvals_kernel.function(A)
    return (S > _tolerance("linalg.matrix_rank", A, S, atol, rtol).unsqueeze(-1)).sum(-1)  # type: ignore[attr-defined,no-any-return]


@matrix_kernel("_lstsq", differentiable=False)
def lstsq_kernel(A: Tensor, B: Tensor, rcond: float, driver: str) -> Any:
    """(solution, rank, singular values) of least squares problems; the solution of least norm."""
    (m, n), batch, width = A.shape[-2:], A.shape[:-2], B.shape[-1]
    k = min(m, n)

    def compute(a: np.ndarray, b: np.ndarray) -> Any:
        if not a.size or not b.size:
            return np.zeros((*batch, n, width), b.dtype), np.zeros(batch), np.zeros((*batch, k))
        finite = np.isfinite(a).all((-2, -1)) & np.isfinite(b).all((-2, -1))
        if driver in ("gels", "gelsy") and finite.all():
            return *template.matrices.least_squares(a, b, rcond), np.zeros((*batch, k))
        lstsq = scipy_module("linalg").lstsq
        name = "gelsy" if driver == "gels" else driver

        def one(left: np.ndarray, right: np.ndarray) -> Any:
            if not (np.isfinite(left).all() and np.isfinite(right).all()):  # LAPACK's iterations might not end
                return np.full((n, width), np.nan, b.dtype), np.int64(0), np.full(k, np.nan)
            x, _, rank, s = lstsq(left, right, cond=rcond, lapack_driver=name, check_finite=False)
            return x, np.int64(rank), np.zeros(k) if s is None else s

        return tuple(for_each_matrix(3, one, a, b))

    layouts = [
        by_columns(B.dtype, (*batch, n, width)), dense(dtypes.int64, batch), dense(A.dtype.to_real(), (*batch, k))
    ]  # fmt: skip
    return on_host(layouts, [A, B], compute)


@operator(name="linalg_lstsq", kind="composite", method=False, namespace=_L, returns=return_types.linalg_lstsq)
def linalg_lstsq(A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None) -> Any:
    """(X, residuals, rank, singular values) with ``|A X - B|`` least; what the driver does not compute is empty.

    ``driver`` is one of LAPACK's "gelsy" (default), "gels" (full rank), "gelsd" and "gelss".
    """
    check_floating("torch.linalg.lstsq", A, B)
    if A.ndim < 2:
        raise RuntimeError("torch.linalg.lstsq: input must have at least 2 dimensions.")
    if B.ndim < 1:
        raise RuntimeError("torch.linalg.lstsq: other must have at least 1 dimension.")
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError(
            f"torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss), got {driver}"
        )
    driver = driver or "gelsy"
    vector = is_vector(A, B)
    b = B.unsqueeze(-1) if vector else B  # type: ignore[attr-defined]
    m, n = A.shape[-2:]
    if b.shape[-2] != m:
        raise RuntimeError(f"torch.linalg.lstsq: input.size(-2) should match other.size(-{1 if vector else 2})")
    a, b = batches(A, b)
    eps = 2.0**-52 if A.dtype.to_real() is dtypes.float64 else 2.0**-23
    cut = eps * max(m, n) if rcond is None else float(rcond)
    x, rank, values = lstsq_kernel.function(a, b, cut, driver)
    if levels.stack or (grad_state.grad and (A.requires_grad or B.requires_grad)):  # type: ignore[attr-defined]
        x = _pinv_of(a, None, None, False).matmul(b)  # type: ignore[attr-defined]
    if m > n and driver != "gelsy" and (driver == "gels" or bool((rank == n).all())):
        residuals = (a.matmul(x) - b).abs().square().sum(-2)  # type: ignore[attr-defined]
    else:
        residuals = x.reshape(-1).narrow(0, 0, 0).abs()  # none, but on the tape like the solution
    none = A.new_empty((0,), dtype=A.dtype.to_real())  # type: ignore[attr-defined]
    return return_types.linalg_lstsq(
        x.squeeze(-1) if vector else x, residuals, rank if driver != "gels" else A.new_empty((0,), dtype=dtypes.int64),  # type: ignore[attr-defined]
        values if driver in ("gelsd", "gelss") else none,
    )  # fmt: skip
