"""Linear algebra with PyTorch's interfaces (``torch.linalg`` and its older names), over the decompositions of
``lapack``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import dtype as dtypes
from ..autograd.mode import state as grad_state
from ..dtype import dtype as dtype_
from ..graph.node import broadcast_shapes
from ..operator import Tensors, operator
from ..tensor import Tensor
from ..transform.level import levels
from . import return_types
from .common import dim_of, dims_of, overridable
from .compare import where
from .distance import linalg_vector_norm
from .join import cat
from .lapack import (
    LinAlgError,
    adjoint,
    check_floating,
    check_matrix,
    check_square,
    cholesky_kernel,
    det_kernel,
    eig_kernel,
    eigh_kernel,
    eigvalsh_kernel,
    geqrf_kernel,
    householder_kernel,
    inverse_kernel,
    ldl_kernel,
    ldl_solve_kernel,
    lstsq_kernel,
    lu_kernel,
    matrix_exp_kernel,
    permutation_kernel,
    permutation_matrix,
    qr_kernel,
    slogdet_kernel,
    solve_kernel,
    svd_kernel,
    svdvals_kernel,
    triangular_kernel,
    unpack_factors,
)  # fmt: skip

__all__ = ["lu"]

_L = "torch.linalg"


def _check(name: str, info: Tensor, problem: str) -> None:
    """Raises LinAlgError for the first matrix of a batch whose ``info`` is not 0."""
    if info.device.type == "meta" or not info.numel():
        return
    failed = info.reshape(-1).nonzero()  # type: ignore[attr-defined]
    if failed.numel():
        at = int(failed[0, 0])
        code = int(info.reshape(-1)[at])  # type: ignore[attr-defined]
        where_ = f"(Batch element {at}): " if info.ndim else ""
        raise LinAlgError(f"{name}: {where_}{problem.format(code)}")


_SINGULAR = (
    "The diagonal element {0} is zero, the inversion could not be completed because the input matrix is singular."
)
_UNSOLVABLE = "The solver failed because the input matrix is singular."
_INDEFINITE = (
    "The factorization could not be completed because the input is not positive-definite (the "
    "leading minor of order {0} is not positive-definite)."
)


def _spread(x: Tensor, batch: Sequence[int]) -> Tensor:
    return x if tuple(x.shape[:-2]) == tuple(batch) else x.expand((*batch, *x.shape[-2:]))  # type: ignore[attr-defined,no-any-return]


def _batches(A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the batch dimensions that they broadcast to."""
    batch = broadcast_shapes(A.shape[:-2], B.shape[:-2])
    return _spread(A, batch), _spread(B, batch)


# -- Cholesky ----------------------------------------------------------------------------------------


@operator(
    name="linalg_cholesky_ex", kind="composite", method=False, namespace=_L, returns=return_types.linalg_cholesky_ex
)
def linalg_cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """(L, info): the factor ``A = L L^H`` (``upper``: ``U^H U``) of positive definite matrices, and the order of the
    first leading minor that is not positive, or 0."""
    check_floating("linalg.cholesky", A)
    check_square("linalg.cholesky", A)
    factor, info = cholesky_kernel.function(A, bool(upper))
    if check_errors:
        _check("linalg.cholesky", info, _INDEFINITE)
    return return_types.linalg_cholesky_ex(factor, info)


@operator(name="linalg_cholesky", kind="composite", method=False, namespace=_L)
def linalg_cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """The lower (or ``upper``) Cholesky factor of positive definite matrices; raises LinAlgError for others."""
    return linalg_cholesky_ex.function(A, upper=upper, check_errors=True)[0]  # type: ignore[no-any-return]


@operator(kind="composite")
def cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """See ``torch.linalg.cholesky``."""
    return linalg_cholesky.function(input, upper=upper)  # type: ignore[no-any-return]


@operator(name="_cholesky_solve", kind="composite", method=False, function=False)
def _cholesky_solve(B: Tensor, L: Tensor, upper: bool) -> Tensor:
    """X with ``A X = B``, from the factor of A; batches are equal."""
    low = adjoint(L) if upper else L
    half = triangular_kernel.function(low, B, False, True, False)
    return triangular_kernel.function(adjoint(low), half, True, True, False)  # type: ignore[no-any-return]


@_cholesky_solve.gradient("L", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    gb = _cholesky_solve.function(grad, ctx.L, ctx.upper)
    if not ctx.needs("L"):
        return gb, None
    common = gb.matmul(adjoint(ctx.result))
    common = common + adjoint(common)
    return gb, -ctx.L.matmul(common) if ctx.upper else -common.matmul(ctx.L)


@operator(kind="composite", synonyms={"input": ("B",), "input2": ("L",)})
def cholesky_solve(input: Tensor, input2: Tensor, upper: bool = False) -> Tensor:
    """X with ``A X = input``, from the Cholesky factor ``input2`` of A."""
    check_floating("cholesky_solve", input, input2)
    if input.ndim < 2 or input2.ndim < 2:
        raise RuntimeError(f"b should have at least 2 dimensions, but has {input.ndim} dimensions instead")
    _check_fits("cholesky_solve", input2, input)
    L, B = _batches(input2, input)
    return _cholesky_solve.function(B, L, bool(upper))  # type: ignore[no-any-return]


@operator(kind="composite", synonyms={"input": ("L",)})
def cholesky_inverse(input: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A, from its Cholesky factor."""
    check_floating("cholesky_inverse", input)
    check_square("cholesky_inverse", input)
    return _cholesky_solve.function(_identity_like(input), input, bool(upper))  # type: ignore[no-any-return]


def _identity_like(A: Tensor) -> Tensor:
    return A.new_ones(A.shape[:-1]).diag_embed()  # type: ignore[attr-defined,no-any-return]


def _check_fits(name: str, A: Tensor, B: Tensor, left: bool = True) -> None:
    check_square(name, A)
    if B.shape[-2 if left else -1] != A.shape[-1]:
        raise RuntimeError(
            f"{name}: Incompatible shapes of A and B for the equation "
            f"{'AX = B' if left else 'XA = B'} ({A.shape[-2]}x{A.shape[-1]} and "
            f"{B.shape[-2]}x{B.shape[-1]})"
        )


# -- solving and inverting ---------------------------------------------------------------------------


def _is_vector(A: Tensor, B: Tensor) -> bool:
    """Whether B is a batch of vectors: one-dimensional, or a dimension fewer than A and of its batch."""
    return B.ndim == 1 or (A.ndim - 1 == B.ndim and B.shape == A.shape[:-1])


@operator(name="linalg_solve_ex", kind="composite", method=False, namespace=_L, returns=return_types.linalg_solve_ex)
def linalg_solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """(X, info) with ``A X = B`` (or ``X A = B``); info is the place from 1 of the first zero pivot, or 0."""
    check_floating("linalg.solve", A, B)
    check_square("linalg.solve", A)
    vector = _is_vector(A, B)
    if vector and not left:
        raise RuntimeError(
            "linalg.solve: Vector broadcasting of the left hand side is not supported for "
            "left=False. In this case linalg.solve is equivalent to B / A.squeeze(-1)"
        )
    if not vector and B.ndim < 2:
        raise RuntimeError(f"linalg.solve: B must be a vector or a batch of matrices, got {B.ndim}D")
    b = B.unsqueeze(-1) if vector else B  # type: ignore[attr-defined]
    _check_fits("linalg.solve", A, b, left)
    a, b = _batches(A, b)
    if left:
        x, info = solve_kernel.function(a, b)
    else:
        x, info = solve_kernel.function(a.transpose(-1, -2), b.transpose(-1, -2))  # type: ignore[attr-defined]
        x = x.transpose(-1, -2)
    if check_errors:
        _check("torch.linalg.solve", info, _UNSOLVABLE)
    return return_types.linalg_solve_ex(x.squeeze(-1) if vector else x, info)


@operator(name="linalg_solve", kind="composite", method=False, namespace=_L)
def linalg_solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with ``A X = B`` (``left=False``: ``X A = B``); B may be a vector.  Raises LinAlgError for singular
    matrices."""
    return linalg_solve_ex.function(A, B, left=left, check_errors=True)[0]  # type: ignore[no-any-return]


@operator(name="linalg_solve_triangular", kind="composite", method=False, namespace=_L)
def linalg_solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """X with ``A X = B`` (``left=False``: ``X A = B``) for triangular A, of which the other triangle is not read."""
    check_floating("linalg.solve_triangular", A, B)
    check_matrix("linalg.solve_triangular", B)
    _check_fits("linalg.solve_triangular", A, B, left)
    a, b = _batches(A, B)
    return triangular_kernel.function(a, b, bool(upper), bool(left), bool(unitriangular))  # type: ignore[no-any-return]


@operator(kind="composite", returns=return_types.triangular_solve, synonyms={"input": ("b",)})
def triangular_solve(
    input: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    """(X, A) with ``A X = input`` for triangular A (``transpose``: for its conjugate transpose)."""
    check_floating("triangular_solve", input, A)
    if input.ndim < 2:
        raise RuntimeError(
            "torch.triangular_solve: Expected b to have at least 2 dimensions, but it has "
            f"{input.ndim} dimensions instead"
        )
    if A.ndim < 2:
        raise RuntimeError(
            f"torch.triangular_solve: Expected A to have at least 2 dimensions, but it has {A.ndim} dimensions instead"
        )
    _check_fits("triangular_solve", A, input)
    a, b = _batches(A, input)
    matrix, high = (a.transpose(-1, -2), not upper) if transpose else (a, upper)  # type: ignore[attr-defined]
    return return_types.triangular_solve(
        triangular_kernel.function(matrix, b, bool(high), True, bool(unitriangular)), a.clone()
    )  # type: ignore[attr-defined]


@operator(name="linalg_inv_ex", kind="composite", method=False, namespace=_L, returns=return_types.linalg_inv_ex)
def linalg_inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """(inverse, info); info is the place from 1 of the first zero pivot, or 0."""
    check_floating("linalg.inv", A)
    check_square("linalg.inv", A)
    found, info = inverse_kernel.function(A)
    if check_errors:
        _check("linalg.inv", info, _SINGULAR)
    return return_types.linalg_inv_ex(found, info)


@operator(name="linalg_inv", kind="composite", method=False, namespace=_L)
def linalg_inv(A: Tensor) -> Tensor:
    """The inverse of square matrices; raises LinAlgError for singular ones."""
    return linalg_inv_ex.function(A, check_errors=True)[0]  # type: ignore[no-any-return]


@operator(kind="composite")
def inverse(input: Tensor) -> Tensor:
    """See ``torch.linalg.inv``."""
    return linalg_inv.function(input)  # type: ignore[no-any-return]


# -- determinants ------------------------------------------------------------------------------------


@operator(name="linalg_det", kind="composite", method=False, namespace=_L)
def linalg_det(A: Tensor) -> Tensor:
    """The determinant of square matrices."""
    check_floating("linalg.det", A)
    check_square("linalg.det", A)
    return det_kernel.function(A)  # type: ignore[no-any-return]


@operator(kind="composite", out=False)
def det(input: Tensor) -> Tensor:
    """See ``torch.linalg.det``."""
    return linalg_det.function(input)  # type: ignore[no-any-return]


@operator(name="linalg_slogdet", kind="composite", method=False, namespace=_L, returns=return_types.linalg_slogdet)
def linalg_slogdet(A: Tensor) -> Any:
    """(sign, logarithm of the absolute value) of the determinant; (0, -inf) for singular matrices."""
    check_floating("linalg.slogdet", A)
    check_square("linalg.slogdet", A)
    return return_types.linalg_slogdet(*slogdet_kernel.function(A))


@operator(kind="composite", returns=return_types.slogdet)
def slogdet(input: Tensor) -> Any:
    """See ``torch.linalg.slogdet``."""
    return return_types.slogdet(*linalg_slogdet.function(input))


@operator(kind="composite", out=False)
def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant; NaN where it is negative."""
    check_floating("logdet", input)
    check_square("logdet", input)
    sign, size = slogdet_kernel.function(input)
    if input.dtype.is_complex:
        return sign.log() + size  # type: ignore[no-any-return]
    return where.function(sign == -1, math.nan, size)  # type: ignore[no-any-return]


# -- LU ----------------------------------------------------------------------------------------------


@operator(
    name="linalg_lu_factor_ex", kind="composite", method=False, namespace=_L, returns=return_types.linalg_lu_factor_ex
)
def linalg_lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """(LU, pivots, info): both triangular factors in one matrix, row exchanges counted from 1."""
    check_floating("torch.linalg.lu_factor", A)
    check_matrix("torch.linalg.lu_factor", A)
    factors, pivots, info = lu_kernel.function(A, bool(pivot))
    if check_errors:
        _check(
            "torch.linalg.lu_factor_ex",
            info,
            "U[{0},{0}] is zero and using it on lu_solve would result in a division by zero.",
        )
    return return_types.linalg_lu_factor_ex(factors, pivots, info)


@operator(name="linalg_lu_factor", kind="composite", method=False, namespace=_L, returns=return_types.linalg_lu_factor)
def linalg_lu_factor(A: Tensor, *, pivot: bool = True) -> Any:
    """(LU, pivots): see ``lu_factor_ex``."""
    return return_types.linalg_lu_factor(*linalg_lu_factor_ex.function(A, pivot=pivot)[:2])


@operator(name="linalg_lu", kind="composite", method=False, namespace=_L, returns=return_types.linalg_lu)
def linalg_lu(A: Tensor, *, pivot: bool = True) -> Any:
    """(P, L, U) with ``A = P L U``; P is empty without pivoting."""
    check_floating("linalg.lu", A)
    check_matrix("linalg.lu", A)
    factors, pivots, _ = lu_kernel.function(A, bool(pivot))
    P = permutation_matrix(pivots, A.shape[-2], A.dtype) if pivot else A.new_empty((0,))  # type: ignore[attr-defined]
    return return_types.linalg_lu(P, *unpack_factors(factors))


@overridable
def lu(A: Tensor, pivot: bool = True, get_infos: bool = False, out: Any = None) -> Any:
    """(LU, pivots), and the info of ``torch.linalg.lu_factor_ex`` for ``get_infos``; raises RuntimeError for singular
    matrices otherwise."""
    found = linalg_lu_factor_ex.function(A, pivot=pivot, check_errors=not get_infos)
    result = found if get_infos else tuple(found)[:2]
    if out is None:
        return result
    for o, r in zip(out, result):
        o.resize_(r.shape).copy_(r)
    return out


def _lu_method(self: Tensor, pivot: bool = True, get_infos: bool = False) -> Any:
    """See ``torch.lu``."""
    return lu(self, pivot, get_infos)


_lu_method.__name__ = "lu"
Tensor.lu = _lu_method  # type: ignore[attr-defined]


@operator(kind="composite", method=False, returns=return_types.lu_unpack)
def lu_unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """(P, L, U) from the results of ``lu_factor``; empty where not wanted."""
    check_matrix("lu_unpack", LU_data)
    if unpack_pivots and LU_pivots.dtype is not dtypes.int32:
        raise RuntimeError(
            "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 "
            "dtype.\nNote: this function is intended to be used with the output produced by "
            "torch.linalg.lu_factor"
        )
    none = LU_data.new_empty((0,))  # type: ignore[attr-defined]
    L, U = unpack_factors(LU_data) if unpack_data else (none, none)
    P = permutation_matrix(LU_pivots, LU_data.shape[-2], LU_data.dtype) if unpack_pivots else none
    return return_types.lu_unpack(P, L, U)


@operator(name="linalg_lu_solve", kind="composite", method=False, namespace=_L)
def linalg_lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:
    """X with ``A X = B`` (``left=False``: ``X A = B``) from the factors of A; ``adjoint``: for its conjugate
    transpose."""
    check_floating("torch.linalg.lu_solve", LU, B)
    check_matrix("torch.linalg.lu_solve", B)
    if pivots.dtype is not dtypes.int32 or not pivots.ndim:
        raise RuntimeError(
            "linalg.lu_solve: pivots should be a Tensor of scalar type torch.int32 with one or more dimensions, got "
            f"{pivots.dtype} of shape {list(pivots.shape)}"
        )
    _check_fits("torch.linalg.lu_solve", LU, B, left)
    factors, b = _batches(LU, B)
    pivots = pivots.expand((*factors.shape[:-2], pivots.shape[-1]))  # type: ignore[attr-defined]
    if not left:  # X A = B is A^H X^H = B^H
        return dual(_lu_solve(factors, pivots, dual(b), not adjoint))
    return _lu_solve(factors, pivots, b, adjoint)


dual = adjoint


def _lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, transposed: bool) -> Tensor:
    order = permutation_kernel.function(pivots, LU.shape[-1])
    if transposed:
        half = triangular_kernel.function(dual(LU), B, False, True, False)
        rows = order.argsort(-1).unsqueeze(-1).expand(B.shape)
        return triangular_kernel.function(dual(LU), half, True, True, True).gather(-2, rows)  # type: ignore[no-any-return]
    half = triangular_kernel.function(LU, B.gather(-2, order.unsqueeze(-1).expand(B.shape)), False, True, True)  # type: ignore[attr-defined]
    return triangular_kernel.function(LU, half, True, True, False)  # type: ignore[no-any-return]


@operator(kind="composite", synonyms={"input": ("b",)})
def lu_solve(input: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """See ``torch.linalg.lu_solve``."""
    return linalg_lu_solve.function(LU_data, LU_pivots, input)  # type: ignore[no-any-return]


# -- orthogonal factors ------------------------------------------------------------------------------


@operator(name="linalg_qr", kind="composite", method=False, namespace=_L, returns=return_types.linalg_qr)
def linalg_qr(A: Tensor, mode: str = "reduced") -> Any:
    """(Q, R) with ``A = Q R``: mode "reduced", "complete" (Q square), or "r" (Q is empty)."""
    check_floating("linalg.qr", A)
    check_matrix("linalg.qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    return return_types.linalg_qr(*qr_kernel.function(A, mode))


@operator(kind="composite", returns=return_types.qr)
def qr(input: Tensor, some: bool = True) -> Any:
    """See ``torch.linalg.qr``; ``some`` is its "reduced" mode."""
    return return_types.qr(*linalg_qr.function(input, "reduced" if some else "complete"))


@operator(kind="composite", returns=return_types.geqrf)
def geqrf(input: Tensor) -> Any:
    """(a, tau): R and below it the Householder vectors of Q, and their factors."""
    check_floating("geqrf", input)
    check_matrix("geqrf", input)
    return return_types.geqrf(*geqrf_kernel.function(input))


@operator(name="linalg_householder_product", kind="composite", method=False, namespace=_L)
def linalg_householder_product(A: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of the reflections ``1 - tau_i v_i v_i^H``, v_i below the diagonal of column
    i."""
    check_floating("linalg.householder_product", A, tau)
    check_matrix("torch.linalg.householder_product", A)
    (m, n), k = A.shape[-2:], tau.shape[-1]
    if m < n:
        raise RuntimeError(
            "torch.linalg.householder_product: input.shape[-2] must be greater than or equal to "
            f"input.shape[-1], got {m} < {n}"
        )
    if n < k:
        raise RuntimeError(
            "torch.linalg.householder_product: input.shape[-1] must be greater than or equal to "
            f"tau.shape[-1], got {n} < {k}"
        )
    if tuple(tau.shape[:-1]) != tuple(A.shape[:-2]):
        raise RuntimeError(
            "torch.linalg.householder_product: Expected batch dimensions of tau to be equal to "
            f"input.shape[:-2], but got {list(tau.shape[:-1])}"
        )
    one = A.new_ones((m,)).diag_embed().narrow(-1, 0, n)  # type: ignore[attr-defined]
    if not k:  # nothing is reflected, but the result still is one of A
        return A.clone().copy_(one.expand(A.shape))  # type: ignore[attr-defined,no-any-return]
    if A._key is not None and tau._key is not None and not (A.requires_grad or tau.requires_grad):
        return householder_kernel.function(A, tau)  # type: ignore[no-any-return]
    return _reflect(A, tau, one.expand((*A.shape[:-2], m, n)), False)


def _reflect(A: Tensor, tau: Tensor, x: Tensor, transposed: bool) -> Tensor:
    """``Q x`` or ``Q^H x`` for the product Q of the reflections in A."""
    m, k = A.shape[-2], tau.shape[-1]
    below = A.narrow(-1, 0, k).tril(-1)  # type: ignore[attr-defined]
    vectors = below + A.new_ones((m,)).diag_embed().narrow(-1, 0, k)  # type: ignore[attr-defined]
    for i in range(k) if transposed else reversed(range(k)):
        v = vectors.narrow(-1, i, 1)
        t = tau.narrow(-1, i, 1).unsqueeze(-1)  # type: ignore[attr-defined]
        x = x - (t.conj() if transposed and t.dtype.is_complex else t) * v.matmul(dual(v).matmul(x))
    return x


@operator(kind="composite", synonyms={"input2": ("tau",)})
def orgqr(input: Tensor, input2: Tensor) -> Tensor:
    """See ``torch.linalg.householder_product``."""
    return linalg_householder_product.function(input, input2)  # type: ignore[no-any-return]


@operator(kind="composite", synonyms={"input2": ("tau",), "input3": ("other",)})
def ormqr(input: Tensor, input2: Tensor, input3: Tensor, left: bool = True, transpose: bool = False) -> Tensor:
    """The product of ``input3`` with the orthogonal matrix Q of the reflections (``input``, ``input2``): ``Q C``, ``C
    Q`` for ``left=False``, with the conjugate transpose of Q for ``transpose``."""
    check_floating("ormqr", input, input2, input3)
    check_matrix("torch.ormqr", input)
    check_matrix("torch.ormqr", input3)
    if input3.shape[-2 if left else -1] != input.shape[-2]:
        raise RuntimeError(f"torch.ormqr: other.shape[{-2 if left else -1}] must be equal to input.shape[-2]")
    if left:
        return _reflect(input, input2, input3, transpose)
    return dual(_reflect(input, input2, dual(input3), not transpose))


# -- singular values and eigenvalues -----------------------------------------------------------------


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
    """The eigenvalues, complex and in no particular order."""
    return linalg_eig.function(A)[0]  # type: ignore[no-any-return]


# -- inverses that always exist, ranks ---------------------------------------------------------------


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
def _pinv(A: Tensor, atol: Any, rtol: Any, hermitian: bool) -> Tensor:
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
    A = A.detach()  # type: ignore[attr-defined]
    if not A.numel():
        return A.new_zeros(A.shape[:-2], dtype=dtypes.int64)  # type: ignore[attr-defined,no-any-return]
    S = eigvalsh_kernel.function(A, True).abs() if hermitian else svdvals_kernel.function(A)
    return (S > _tolerance("linalg.matrix_rank", A, S, atol, rtol).unsqueeze(-1)).sum(-1)  # type: ignore[attr-defined,no-any-return]


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
    vector = _is_vector(A, B)
    b = B.unsqueeze(-1) if vector else B  # type: ignore[attr-defined]
    m, n = A.shape[-2:]
    if b.shape[-2] != m:
        raise RuntimeError(f"torch.linalg.lstsq: input.size(-2) should match other.size(-{1 if vector else 2})")
    a, b = _batches(A, b)
    eps = 2.0**-52 if A.dtype.to_real() is dtypes.float64 else 2.0**-23
    cut = eps * max(m, n) if rcond is None else float(rcond)
    x, rank, values = lstsq_kernel.function(a, b, cut, driver)
    if levels.stack or (grad_state.grad and (A.requires_grad or B.requires_grad)):  # type: ignore[attr-defined]
        x = _pinv_of(a, None, None, False).matmul(b)  # type: ignore[attr-defined]
    full = driver == "gels" or bool((rank == n).all())
    off = (a.matmul(x) - b).abs().square().sum(-2)  # type: ignore[attr-defined]
    residuals = off if m > n and full and driver != "gelsy" else off.reshape(-1).narrow(0, 0, 0)
    none = A.new_empty((0,), dtype=A.dtype.to_real())  # type: ignore[attr-defined]
    return return_types.linalg_lstsq(
        x.squeeze(-1) if vector else x, residuals, rank if driver != "gels" else A.new_empty((0,), dtype=dtypes.int64),  # type: ignore[attr-defined]
        values if driver in ("gelsd", "gelss") else none,
    )  # fmt: skip


# -- norms -------------------------------------------------------------------------------------------


@operator(name="linalg_matrix_norm", kind="composite", method=False, namespace=_L)
def linalg_matrix_norm(
    A: Tensor,
    ord: float | str = "fro",
    dim: Sequence[int] = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: dtype_ | None = None,
) -> Tensor:
    """The norm of matrices: "fro", "nuc" (sum of singular values), 2 and -2 (greatest and least one), 1 and -1 (of the
    sums of columns), inf and -inf (of rows)."""
    check_floating("linalg.matrix_norm", A) if A.dtype not in (dtypes.bfloat16, dtypes.float16) else None
    check_matrix("linalg.matrix_norm", A)
    dims = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    if len(dims) != 2:
        raise RuntimeError("linalg.matrix_norm: dim must be a 2-tuple of ints")
    first, second = (d % A.ndim if -A.ndim <= d < A.ndim else dims_of(d, A.ndim, "linalg.matrix_norm")[0] for d in dims)
    if first == second:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dims[0]}, {dims[1]})")
    if ord == "fro":
        return linalg_vector_norm.function(A, 2, dims, keepdim, dtype=dtype)  # type: ignore[no-any-return]
    x = A if dtype is None else A.to(dtype)  # type: ignore[attr-defined]
    if ord == "nuc" or (not isinstance(ord, str) and abs(ord) == 2):
        values = linalg_svdvals.function(x.movedim((first, second), (-2, -1)))
        found = values.sum(-1) if ord == "nuc" else values.amax(-1) if ord > 0 else values.amin(-1)
    elif not isinstance(ord, str) and abs(ord) in (1, math.inf):
        down, across = (first, second) if abs(ord) == 1 else (second, first)
        sums = linalg_vector_norm.function(x, 1, down)
        across -= across > down
        found = sums.amax(across) if ord > 0 else sums.amin(across)
    else:
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    if keepdim:
        for d in sorted((first, second)):
            found = found.unsqueeze(d)
    return found  # type: ignore[no-any-return]


@operator(name="linalg_norm", kind="composite", method=False, namespace=_L)
def linalg_norm(
    input: Tensor,
    ord: Any = None,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: dtype_ | None = None,
) -> Tensor:
    """The norm of vectors (one dimension, or no ``ord``) or matrices (two); see ``vector_norm`` and ``matrix_norm``."""
    dims = None if dim is None else tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    if ord is None:
        return linalg_vector_norm.function(input, 2, dims, keepdim, dtype=dtype)  # type: ignore[no-any-return]
    if dims is not None and len(dims) not in (1, 2):
        raise RuntimeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dims)}")
    if dims is None and input.ndim not in (1, 2):
        raise RuntimeError(
            f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {input.ndim}D."
        )
    if isinstance(ord, str) or (len(dims) == 2 if dims is not None else input.ndim == 2):
        return linalg_matrix_norm.function(input, ord, dims or (-2, -1), keepdim, dtype=dtype)  # type: ignore[no-any-return]
    return linalg_vector_norm.function(input, ord, dims, keepdim, dtype=dtype)  # type: ignore[no-any-return]


@operator(name="linalg_cond", kind="composite", method=False, namespace=_L)
def linalg_cond(A: Tensor, p: Any = None) -> Tensor:
    """The condition number by a matrix norm (2 for None): of A times that of its inverse; infinite for singular
    matrices."""
    check_floating("linalg.cond", A)
    check_matrix("linalg.cond", A)
    if p is None or (not isinstance(p, str) and abs(p) == 2):
        S = linalg_svdvals.function(A)
        if not S.numel():
            return S.new_zeros(A.shape[:-2])  # type: ignore[no-any-return]
        high, low = S.select(-1, 0), S.select(-1, -1)
        return high / low if p is None or p > 0 else low / high  # type: ignore[no-any-return]
    check_square(f"linalg.cond(ord={p})", A)
    if not A.numel():
        return A.new_zeros(A.shape[:-2], dtype=A.dtype.to_real())  # type: ignore[attr-defined,no-any-return]
    inverted, info = inverse_kernel.function(A)
    inverted = inverted.masked_fill((info != 0).unsqueeze(-1).unsqueeze(-1), math.inf)
    product = linalg_matrix_norm.function(A, p) * linalg_matrix_norm.function(inverted, p) if p != "nuc" else None
    if product is None:
        S = linalg_svdvals.function(A)
        product = S.sum(-1) * S.reciprocal().sum(-1)
    return product  # type: ignore[no-any-return]


# -- powers and exponentials -------------------------------------------------------------------------


@operator(name="linalg_matrix_power", kind="composite", method=False, namespace=_L)
def linalg_matrix_power(A: Tensor, n: int) -> Tensor:
    """The n-th power of square matrices, by repeated squaring; negative ones are powers of the inverse."""
    check_square("linalg.matrix_power", A)
    if n < 0:
        A, n = linalg_inv.function(A), -n
    if n == 0:
        return A.clone().copy_(_identity_like(A))  # type: ignore[attr-defined,no-any-return]
    found = None
    square = A
    while n:
        if n & 1:
            found = square if found is None else found.matmul(square)  # type: ignore[attr-defined]
        n >>= 1
        square = square.matmul(square) if n else square  # type: ignore[attr-defined]
    assert found is not None
    return found.clone() if found is A else found  # type: ignore[attr-defined]


@operator(kind="composite")
def matrix_power(input: Tensor, n: int) -> Tensor:
    """See ``torch.linalg.matrix_power``."""
    return linalg_matrix_power.function(input, n)  # type: ignore[no-any-return]


@operator(name="linalg_matrix_exp", kind="composite", method=False, out=False, namespace=_L)
def linalg_matrix_exp(A: Tensor) -> Tensor:
    """The exponential of square matrices."""
    if A.dtype.kind not in "fc":
        raise RuntimeError(f"linalg.matrix_exp: Expected a floating point or complex tensor as input. Got {A.dtype}")
    check_square("linalg.matrix_exp", A)
    if A.dtype.kind == "f" and A.dtype.itemsize < 4:
        return matrix_exp_kernel.function(A.float()).to(A.dtype)  # type: ignore[attr-defined,no-any-return]
    return matrix_exp_kernel.function(A)  # type: ignore[no-any-return]


@operator(kind="composite", out=False, synonyms={"input": ("A",)})
def matrix_exp(input: Tensor) -> Tensor:
    """See ``torch.linalg.matrix_exp``."""
    return linalg_matrix_exp.function(input)  # type: ignore[no-any-return]


# -- symmetric indefinite systems --------------------------------------------------------------------


@operator(
    name="linalg_ldl_factor_ex", kind="composite", method=False, namespace=_L, returns=return_types.linalg_ldl_factor_ex
)
def linalg_ldl_factor_ex(A: Tensor, *, hermitian: bool = False, check_errors: bool = False) -> Any:
    """(LD, pivots, info): factors of symmetric (or ``hermitian``) matrices in LAPACK's form."""
    check_floating("torch.linalg.ldl_factor_ex", A)
    check_square("torch.linalg.ldl_factor_ex", A)
    found = ldl_kernel.function(A, bool(hermitian))
    if check_errors:
        _check("torch.linalg.ldl_factor_ex", found[2], "The factorization could not be completed: D[{0},{0}] is zero.")
    return return_types.linalg_ldl_factor_ex(*found)


@operator(
    name="linalg_ldl_factor", kind="composite", method=False, namespace=_L, returns=return_types.linalg_ldl_factor
)
def linalg_ldl_factor(A: Tensor, *, hermitian: bool = False) -> Any:
    """(LD, pivots): see ``ldl_factor_ex``."""
    return return_types.linalg_ldl_factor(*linalg_ldl_factor_ex.function(A, hermitian=hermitian, check_errors=True)[:2])


@operator(name="linalg_ldl_solve", kind="composite", method=False, namespace=_L)
def linalg_ldl_solve(LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: bool = False) -> Tensor:
    """X with ``A X = B``, from the factors of A by ``ldl_factor``."""
    check_floating("torch.linalg.ldl_solve", LD, B)
    check_matrix("torch.linalg.ldl_solve", B)
    _check_fits("torch.linalg.ldl_solve", LD, B)
    factors, b = _batches(LD, B)
    pivots = pivots.expand((*factors.shape[:-2], pivots.shape[-1]))  # type: ignore[attr-defined]
    return ldl_solve_kernel.function(factors, pivots, b, bool(hermitian))  # type: ignore[no-any-return]


# -- tensors as matrices, and small products ---------------------------------------------------------


@operator(name="linalg_tensorinv", kind="composite", method=False, namespace=_L)
def linalg_tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of A as a map from its last dimensions to its first ``ind`` ones."""
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', got {ind}")
    first, last = A.shape[:ind], A.shape[ind:]
    if math.prod(first) != math.prod(last):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == "
            f"prod(self.shape[:ind]), but got {math.prod(last)} != {math.prod(first)}"
        )
    return linalg_inv.function(A.reshape(math.prod(first), math.prod(last))).reshape((*last, *first))  # type: ignore[attr-defined,no-any-return]


@operator(name="linalg_tensorsolve", kind="composite", method=False, namespace=_L)
def linalg_tensorsolve(A: Tensor, B: Tensor, dims: Sequence[int] | None = None) -> Tensor:
    """X with ``tensordot(A, X, X.ndim) = B``; ``dims`` of A are moved to its end first."""
    if dims is not None:
        A = A.movedim(tuple(dims), tuple(range(-len(dims), 0)))  # type: ignore[attr-defined]
    shape = A.shape[B.ndim :]
    if math.prod(shape) != math.prod(A.shape[: B.ndim]):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
            f"prod(self.shape[:other.ndim]), but got {math.prod(shape)} != "
            f"{math.prod(A.shape[: B.ndim])}"
        )
    n = math.prod(shape)
    return linalg_solve.function(A.reshape(n, n), B.reshape(n)).reshape(shape)  # type: ignore[attr-defined,no-any-return]


@operator(name="linalg_vecdot", kind="composite", method=False, namespace=_L)
def linalg_vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """``sum(conj(x) * y)`` along ``dim``, broadcast."""
    if x.dtype is not y.dtype:
        raise RuntimeError(
            "linalg.vecdot: Expected x and y to have the same dtype, but found x of type "
            f"{x.dtype} and y of type {y.dtype} instead"
        )
    return ((x.conj() if x.dtype.is_complex else x) * y).sum(dim)  # type: ignore[attr-defined,no-any-return]


@operator(name="linalg_vander", kind="composite", method=False, out=False, namespace=_L)
def linalg_vander(x: Tensor, N: int | None = None) -> Tensor:
    """The powers 0 to ``N - 1`` (by default as many as elements) of each element, in a new last dimension."""
    n = x.shape[-1] if N is None and x.ndim else N
    if n is None:
        raise RuntimeError("Input dim must be greater than or equal to 1.")
    if n <= 1 and N is not None:
        raise RuntimeError(f"N must be greater than 1, but got {N}")
    x = x if x.ndim else x.unsqueeze(0)  # type: ignore[attr-defined]
    kind = x.dtype if x.dtype.kind in "fc" else dtypes.int64
    base = x.to(kind).unsqueeze(-1)  # type: ignore[attr-defined]
    one = base.new_ones((*x.shape, 1))
    return cat.function([one, base.expand((*x.shape, n - 1)).cumprod(-1)], -1) if n > 1 else one  # type: ignore[no-any-return]


@operator(name="linalg_multi_dot", kind="composite", method=False, namespace=_L)
def linalg_multi_dot(tensors: Tensors) -> Tensor:
    """The product of two or more matrices (the first and the last may be vectors), in the order that takes the fewest
    operations (Cormen et al., Introduction to Algorithms, 15.2)."""
    n = len(tensors)
    if n < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {n}")
    parts = list(tensors)
    row, column = parts[0].ndim == 1, parts[-1].ndim == 1
    parts[0] = parts[0].unsqueeze(0) if row else parts[0]  # type: ignore[attr-defined]
    parts[-1] = parts[-1].unsqueeze(1) if column else parts[-1]  # type: ignore[attr-defined]
    for i, part in enumerate(parts):
        if part.ndim != 2:
            raise RuntimeError(f"multi_dot(): tensor {i} must be 2D but got {part.ndim}D")
        if i and part.shape[0] != parts[i - 1].shape[1]:
            raise RuntimeError(
                f"multi_dot(): tensors {i - 1} and {i} with shapes {list(tensors[i - 1].shape)} "
                f"and {list(tensors[i].shape)} cannot be multiplied"
            )
    sizes = [p.shape[0] for p in parts] + [parts[-1].shape[1]]
    cost = [[0] * n for _ in range(n)]
    cut = [[0] * n for _ in range(n)]
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i][j], cut[i][j] = min(
                (cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)
            )

    def product(i: int, j: int) -> Tensor:
        return parts[i] if i == j else product(i, cut[i][j]).mm(product(cut[i][j] + 1, j))  # type: ignore[attr-defined,no-any-return]

    found = product(0, n - 1)
    if column:
        found = found.squeeze(-1)  # type: ignore[attr-defined]
    return found.squeeze(0) if row else found  # type: ignore[attr-defined,no-any-return]


@operator(name="linalg_cross", kind="composite", method=False, namespace=_L)
def linalg_cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The cross product of vectors of three along ``dim``, broadcast."""
    if input.ndim != other.ndim:
        raise RuntimeError(
            f"linalg.cross: inputs must have the same number of dimensions. Got {input.ndim} and {other.ndim}"
        )
    if not input.ndim:
        raise RuntimeError("linalg.cross: inputs must have at least one dimension")
    dim = dim_of(dim, input.ndim, "linalg.cross")
    if input.shape[dim] != 3 or other.shape[dim] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {input.shape[dim]} and {other.shape[dim]}"
        )
    a, b = ([t.select(dim, i) for i in range(3)] for t in (input, other))  # type: ignore[attr-defined]
    parts = [a[(i + 1) % 3] * b[(i + 2) % 3] - a[(i + 2) % 3] * b[(i + 1) % 3] for i in range(3)]
    d = dim % input.ndim
    return cat.function([p.unsqueeze(d) for p in parts], d)  # type: ignore[no-any-return]
