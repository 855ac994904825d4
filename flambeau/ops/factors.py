"""Factors of matrices that systems are solved with: Cholesky, LU, LDL; kernels by LAPACK, their derivatives, and
PyTorch's interfaces."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import device as devices
from .. import dtype as dtypes
from .. import template
from ..dispatch.operator import operator
from ..dtype import dtype as dtype_
from ..layout import dense
from ..tensor import Tensor
from . import return_types, small
from .common import overridable
from .join import cat
from .lapack import (
    adjoint,
    batches,
    by_columns,
    check_fits,
    check_floating,
    check_info,
    check_matrix,
    check_square,
    diagonal_of,
    for_each_matrix,
    in_columns,
    matrix_kernel,
    on_host,
    pad_rows,
    some_failed,
)
from .solve import SINGULAR, triangular

__all__ = ["lu"]

_L = "torch.linalg"
_INDEFINITE = (
    "The factorization could not be completed because the input is not positive-definite (the "
    "leading minor of order {0} is not positive-definite)."
)
_dual = adjoint  # where a parameter is called ``adjoint``

# -- Cholesky --------------------------------------------------------------------------------------


@matrix_kernel("_cholesky")
def cholesky_kernel(A: Tensor, upper: bool) -> Any:
    """(L, info): ``A = L L^H`` (or ``U^H U``); info is the order of the first minor that is not positive, or 0."""
    batch = A.shape[:-2]

    def compute(a: np.ndarray) -> Any:
        info = np.zeros(batch, np.int32)
        if a.size == 0:
            return a, info
        return template.matrices.cholesky(a, upper)

    return on_host([by_columns(A.dtype, A.shape), dense(dtypes.int32, batch)], [A], compute)


@cholesky_kernel.gradient("result0")
@small.cholesky_small.gradient("result0")
def _(ctx, grad, grad_info):  # type: ignore[no-untyped-def]
    lower = adjoint(ctx.results[0]) if ctx.upper else ctx.results[0]
    g = adjoint(grad) if ctx.upper else grad
    inner = adjoint(lower).matmul(g)
    low = inner.tril(-1)
    inner = (low + adjoint(low) + diagonal_of(inner).diag_embed()) * 0.5
    half = triangular(lower, inner, False, False, False)  # inner L^-1
    return triangular(adjoint(lower), half, True, True, False)


@operator(
    name="linalg_cholesky_ex", kind="composite", method=False, namespace=_L, returns=return_types.linalg_cholesky_ex
)
def linalg_cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """(L, info): the factor ``A = L L^H`` (``upper``: ``U^H U``) of positive definite matrices, and the order of the
    first leading minor that is not positive, or 0."""
    check_floating("linalg.cholesky", A)
    check_square("linalg.cholesky", A)
    kernel = small.cholesky_small if small.suits(A, always=small.MOST) else cholesky_kernel
    factor, info = kernel.function(A, bool(upper))
    if check_errors:
        check_info("linalg.cholesky", info, _INDEFINITE)
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
    if small.suits(L, B):
        return small.cholesky_solve_small.function(low, B)  # type: ignore[no-any-return]
    half = triangular(low, B, False, True, False)
    return triangular(adjoint(low), half, True, True, False)  # type: ignore[no-any-return]


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
    check_fits("cholesky_solve", input2, input)
    L, B = batches(input2, input)
    return _cholesky_solve.function(B, L, bool(upper))  # type: ignore[no-any-return]


@matrix_kernel("_cholesky_inverse")
def cholesky_inverse_kernel(L: Tensor) -> Any:
    """(``(L L^H)^-1``, info) for lower triangles; info is the place (from 1) of the first 0 on the diagonal, or 0."""
    batch = L.shape[:-2]

    def compute(a: np.ndarray) -> Any:
        return template.matrices.invert_product(a) if a.size else (a, np.zeros(batch, np.int32))

    half, info = on_host([by_columns(L.dtype, L.shape), dense(dtypes.int32, batch)], [L], compute)
    return half if half.device is devices.meta else in_columns(half.tril() + adjoint(half.tril(-1))), info  # type: ignore[attr-defined]


@cholesky_inverse_kernel.gradient("L", "result0")
@small.cholesky_inverse_small.gradient("L", "result0")
def _(ctx, grad, grad_info):  # type: ignore[no-untyped-def]
    inverse = ctx.results[0]
    return inverse.matmul(grad + adjoint(grad)).matmul(inverse).matmul(ctx.L).neg()


@operator(kind="composite", synonyms={"input": ("L",)})
def cholesky_inverse(input: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A, from its Cholesky factor."""
    check_floating("cholesky_inverse", input)
    check_square("cholesky_inverse", input)
    kernel = small.cholesky_inverse_small if small.suits(input) else cholesky_inverse_kernel
    found, info = kernel.function(adjoint(input) if upper else input)
    check_info("cholesky_inverse", info, SINGULAR)
    return found  # type: ignore[no-any-return]


# -- LU --------------------------------------------------------------------------------------------


@matrix_kernel("_lu_factor")
def lu_kernel(A: Tensor, pivot: bool) -> Any:
    """(LU, pivots, info): both factors in one matrix, row exchanges counted from 1, place of the first pivot that is
    zero or 0."""
    m, n = A.shape[-2:]
    k, batch = min(m, n), A.shape[:-2]

    def compute(a: np.ndarray) -> Any:
        if a.size == 0:
            return a, np.broadcast_to(np.arange(1, k + 1, dtype=np.int32), (*batch, k)), np.zeros(batch, np.int32)
        if not pivot:
            return tuple(for_each_matrix(3, _without_pivots, a))
        return template.matrices.lu(a)

    pivots = dense(dtypes.int32, (*batch, k))
    return on_host([by_columns(A.dtype, A.shape), pivots, dense(dtypes.int32, batch)], [A], compute)


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


def factored(A: Tensor, pivot: bool) -> Any:
    """What ``lu_kernel`` says, by whichever kernel suits the sizes."""
    return small.lu_small.function(A) if pivot and small.suits(A) else lu_kernel.function(A, pivot)


@lu_kernel.gradient("result0", "result1")
@small.lu_small.gradient("result0", "result1")
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
        return triangular(adjoint(L1), x, True, True, True)  # type: ignore[no-any-return]

    def by_upper(x: Tensor) -> Tensor:  # x U1^-H
        return triangular(adjoint(U1), x, False, False, False)  # type: ignore[no-any-return]

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


@matrix_kernel("_permutation", differentiable=False)
def permutation_kernel(pivots: Tensor, n: int) -> Tensor:
    """Row exchanges (from 1) as a permutation: entry i is the row of A that is row i of L U."""
    batch = pivots.shape[:-1]

    order = dense(dtypes.int64, (*batch, n))
    return on_host([order], [pivots], lambda p: template.matrices.permutations(p, n))[0]


def row_order(pivots: Tensor, n: int) -> Tensor:
    """What ``permutation_kernel`` says, by whichever kernel suits the size."""
    if 0 < pivots.shape[-1] <= n <= small.MOST:
        order, info = small.order_small.function(pivots, n)
        if not some_failed(info):
            return order  # type: ignore[no-any-return]
    return permutation_kernel.function(pivots, n)  # type: ignore[no-any-return]


def permutation_matrix(pivots: Tensor, n: int, kind: dtype_) -> Tensor:
    """P with ``A = P L U``."""
    return _columns_of_identity.function(row_order(pivots, n), kind)  # type: ignore[no-any-return]


@operator(name="_columns_of_identity", method=False, function=False, differentiable=False)
def _columns_of_identity(order: Tensor, kind: dtype_) -> Tensor:
    """Matrices whose column k has its one where ``order`` says."""
    rows = order.unsqueeze(-2)  # type: ignore[attr-defined]
    index = order.new_ones((order.shape[-1],)).cumsum(0).unsqueeze(-1) - 1  # type: ignore[attr-defined]
    return (rows == index).to(kind)  # type: ignore[no-any-return]


def unpack_factors(LU: Tensor) -> tuple[Tensor, Tensor]:
    """(L, U) from both in one matrix."""
    return _unpacked.function(LU)  # type: ignore[no-any-return]


@operator(name="_unpacked_factors", method=False, function=False)
def _unpacked(LU: Tensor) -> Any:
    """See ``unpack_factors``."""
    m, n = LU.shape[-2:]
    k = min(m, n)
    low = LU.narrow(-1, 0, k).tril(-1)  # type: ignore[attr-defined]
    one = low.new_ones((k,)).diag_embed()
    if m > k:
        one = pad_rows(one, m - k)
    return low + one, LU.narrow(-2, 0, k).triu()  # type: ignore[attr-defined]


@operator(
    name="linalg_lu_factor_ex", kind="composite", method=False, namespace=_L, returns=return_types.linalg_lu_factor_ex
)
def linalg_lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """(LU, pivots, info): both triangular factors in one matrix, row exchanges counted from 1."""
    check_floating("torch.linalg.lu_factor", A)
    check_matrix("torch.linalg.lu_factor", A)
    factors, pivots, info = factored(A, bool(pivot))
    if check_errors:
        check_info(
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
    factors, pivots, _ = factored(A, bool(pivot))
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
    check_fits("torch.linalg.lu_solve", LU, B, left)
    factors, b = batches(LU, B)
    pivots = pivots.expand((*factors.shape[:-2], pivots.shape[-1]))  # type: ignore[attr-defined]
    if not left:  # X A = B is A^H X^H = B^H
        return _dual(_lu_solve.function(factors, pivots, _dual(b), not adjoint))
    return _lu_solve.function(factors, pivots, b, bool(adjoint))  # type: ignore[no-any-return]


@operator(name="_lu_solve", kind="composite", method=False, function=False)
def _lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, transposed: bool) -> Tensor:
    """X with ``A X = B``, or for the conjugate transpose of A; batches are equal."""
    if small.suits(LU, B):
        found, info = small.lu_solve_small.function(LU, pivots, B, transposed)
        if some_failed(info):
            permutation_kernel.function(pivots, LU.shape[-1])  # which says what is wrong with them
        return found  # type: ignore[no-any-return]
    if transposed:
        half = triangular(adjoint(LU), B, False, True, False)
        order = row_order(pivots, LU.shape[-1]).argsort(-1)
        return _rows(triangular(adjoint(LU), half, True, True, True), order)
    order = row_order(pivots, LU.shape[-1])
    return triangular(LU, triangular(LU, _rows(B, order), False, True, True), True, True, False)


def _rows(x: Tensor, order: Tensor) -> Tensor:
    """The rows of matrices in another order."""
    return x.gather(-2, order.unsqueeze(-1).expand(x.shape))  # type: ignore[attr-defined,no-any-return]


@_lu_solve.gradient("LU", "pivots", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    gb = _lu_solve.function(ctx.LU, ctx.pivots, grad, not ctx.transposed)
    if not ctx.needs("LU"):
        return None, None, gb
    # the gradient of A = P L U is - left right^H; those of L and U follow from it
    left, right = (ctx.result, gb) if ctx.transposed else (gb, ctx.result)
    L, U = unpack_factors(ctx.LU)
    left = _rows(left, row_order(ctx.pivots, ctx.LU.shape[-1]))
    low, up = left.matmul(adjoint(U.matmul(right))), adjoint(L).matmul(left).matmul(adjoint(right))
    return -(low.tril(-1) + up.triu()), None, gb


@operator(kind="composite", synonyms={"input": ("b",)})
def lu_solve(input: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """See ``torch.linalg.lu_solve``."""
    return linalg_lu_solve.function(LU_data, LU_pivots, input)  # type: ignore[no-any-return]


# -- symmetric indefinite matrices -----------------------------------------------------------------


@matrix_kernel("_ldl_factor", differentiable=False)
def ldl_kernel(A: Tensor, hermitian: bool) -> Any:
    """(LD, pivots, info) of symmetric (or Hermitian) matrices after Bunch and Kaufman; the lower triangle is read."""
    n, batch = A.shape[-1], A.shape[:-2]

    def compute(a: np.ndarray) -> Any:
        if not a.size:
            return a, np.zeros((*batch, n)), np.zeros(batch)
        return template.matrices.bunch_kaufman(a, hermitian)

    pivots = dense(dtypes.int32, (*batch, n))
    return on_host([by_columns(A.dtype, A.shape), pivots, dense(dtypes.int32, batch)], [A], compute)


@matrix_kernel("_ldl_solve", differentiable=False)
def ldl_solve_kernel(LD: Tensor, pivots: Tensor, B: Tensor, hermitian: bool) -> Tensor:
    """X with ``A X = B`` for a factored A; batches are equal."""

    def compute(a: np.ndarray, p: np.ndarray, b: np.ndarray) -> Any:
        return template.matrices.solve_bunch_kaufman(a, p, b, hermitian) if b.size else b

    return on_host([by_columns(B.dtype, B.shape)], [LD, pivots, B], compute)[0]


@operator(
    name="linalg_ldl_factor_ex", kind="composite", method=False, namespace=_L, returns=return_types.linalg_ldl_factor_ex
)
def linalg_ldl_factor_ex(A: Tensor, *, hermitian: bool = False, check_errors: bool = False) -> Any:
    """(LD, pivots, info): factors of symmetric (or ``hermitian``) matrices in LAPACK's form."""
    check_floating("torch.linalg.ldl_factor_ex", A)
    check_square("torch.linalg.ldl_factor_ex", A)
    found = ldl_kernel.function(A, bool(hermitian))
    if check_errors:
        check_info(
            "torch.linalg.ldl_factor_ex", found[2], "The factorization could not be completed: D[{0},{0}] is zero."
        )
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
    check_fits("torch.linalg.ldl_solve", LD, B)
    factors, b = batches(LD, B)
    pivots = pivots.expand((*factors.shape[:-2], pivots.shape[-1]))  # type: ignore[attr-defined]
    return ldl_solve_kernel.function(factors, pivots, b, bool(hermitian))  # type: ignore[no-any-return]
