"""Linear systems, inverses and determinants: kernels by LAPACK, their derivatives, and PyTorch's interfaces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import device as devices
from .. import dtype as dtypes
from .. import template
from ..autograd.mode import no_grad
from ..dispatch.operator import operator
from ..layout import dense
from ..tensor import Tensor, numpy_view
from ..transform.level import recorded
from . import blocked, return_types, small
from .compare import where
from .convert import contiguous_format
from .lapack import (
    adjoint,
    batches,
    by_columns,
    check_fits,
    check_floating,
    check_info,
    check_matrix,
    check_square,
    in_columns,
    is_vector,
    matrix_kernel,
    on_host,
)
from .shape import view_as_real

__all__: list[str] = []

_FEW = 64  # rows up to which numpy's loop over a batch is as fast as a call for each matrix
_WIDE = {np.dtype(np.float32): np.float64, np.dtype(np.complex64): np.complex128}

_L = "torch.linalg"
SINGULAR = (
    "The diagonal element {0} is zero, the inversion could not be completed because the input matrix is singular."
)
_UNSOLVABLE = "The solver failed because the input matrix is singular."

# -- triangular systems ----------------------------------------------------------------------------


@matrix_kernel("_triangular_solve")
def triangular_kernel(A: Tensor, B: Tensor, upper: bool, left: bool, unit: bool) -> Tensor:
    """X with ``A X = B`` (or ``X A = B``) for triangular A; batches are equal."""

    def compute(a: np.ndarray, b: np.ndarray) -> Any:
        if b.size == 0 or a.size == 0:
            return np.zeros(b.shape, b.dtype)
        return template.matrices.substitute(a, b, upper, left, unit)

    if blocked.blocked(A, B.shape[-1 if left else -2]):
        return _by_blocks(A, B, upper, left, unit)
    return on_host([by_columns(B.dtype, B.shape)], [A, B], compute)[0]


@no_grad()
def _by_blocks(A: Tensor, B: Tensor, upper: bool, left: bool, unit: bool) -> Tensor:
    X = B.clone(memory_format=contiguous_format)  # type: ignore[attr-defined]
    if left:
        blocked.substitute(A, X, upper, unit)
    else:  # the transpose of X A = B
        blocked.substitute(A.transpose(-2, -1), X.transpose(-2, -1), not upper, unit)  # type: ignore[attr-defined]
    return in_columns(X)


def triangular(A: Tensor, B: Tensor, upper: bool, left: bool, unit: bool) -> Tensor:
    """What ``triangular_kernel`` says, by whichever kernel suits the sizes."""
    kernel = small.triangular_small if small.suits(A, B, always=small.MOST) else triangular_kernel
    return kernel.function(A, B, upper, left, unit)  # type: ignore[no-any-return]


@triangular_kernel.gradient("A", "result")
@small.triangular_small.gradient("A", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    gb = triangular(adjoint(ctx.A), grad, not ctx.upper, ctx.left, ctx.unit)
    ga = None
    if ctx.needs("A"):
        ga = -gb.matmul(adjoint(ctx.result)) if ctx.left else -adjoint(ctx.result).matmul(gb)
        off = 1 if ctx.unit else 0
        ga = ga.triu(off) if ctx.upper else ga.tril(-off)
    return ga, gb


@operator(name="linalg_solve_triangular", kind="composite", method=False, namespace=_L)
def linalg_solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """X with ``A X = B`` (``left=False``: ``X A = B``) for triangular A, of which the other triangle is not read."""
    check_floating("linalg.solve_triangular", A, B)
    check_matrix("linalg.solve_triangular", B)
    check_fits("linalg.solve_triangular", A, B, left)
    a, b = batches(A, B)
    return triangular(a, b, bool(upper), bool(left), bool(unitriangular))  # type: ignore[no-any-return]


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
    check_fits("triangular_solve", A, input)
    a, b = batches(A, input)
    matrix, high = (a.transpose(-1, -2), not upper) if transpose else (a, upper)  # type: ignore[attr-defined]
    return return_types.triangular_solve(triangular(matrix, b, bool(high), True, bool(unitriangular)), a.clone())  # type: ignore[attr-defined]


# -- square systems --------------------------------------------------------------------------------


@matrix_kernel("_solve")
def solve_kernel(A: Tensor, B: Tensor) -> Any:
    """(X, info) with ``A X = B``; info is the place (from 1) of the first pivot that is zero, or 0.  Batches are
    equal."""
    batch = A.shape[:-2]
    if blocked.blocked(A, B.shape[-1]):
        return blocked.solve(A, B)

    def compute(a: np.ndarray, b: np.ndarray) -> Any:
        info = np.zeros(batch, np.int32)
        if b.size == 0 or a.size == 0:
            return np.zeros(b.shape, b.dtype), info
        wide = _WIDE.get(a.dtype) if a.shape[-1] <= small.WIDE else None
        if wide is None:
            return template.matrices.solve(a, b)
        x, info = template.matrices.solve(a.astype(wide), b.astype(wide))
        with np.errstate(over="ignore"):
            return x.astype(b.dtype), info

    return on_host([by_columns(B.dtype, B.shape), dense(dtypes.int32, batch)], [A, B], compute)


def solved(A: Tensor, B: Tensor) -> Any:
    """What ``solve_kernel`` says, by whichever kernel suits the sizes."""
    few = 8 * B.shape[-1] <= A.shape[-1]  # what LAPACK is better at is substitution into many columns
    suits = small.suits(A, B, always=small.MOST if few else small.ALWAYS)
    return (small.solve_small if suits else solve_kernel).function(A, B)


@solve_kernel.gradient("A", "result0")
@small.solve_small.gradient("A", "result0")
def _(ctx, grad, grad_info):  # type: ignore[no-untyped-def]
    gb = solved(adjoint(ctx.A), grad)[0]
    return -gb.matmul(adjoint(ctx.results[0])) if ctx.needs("A") else None, gb


@operator(name="linalg_solve_ex", kind="composite", method=False, namespace=_L, returns=return_types.linalg_solve_ex)
def linalg_solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """(X, info) with ``A X = B`` (or ``X A = B``); info is the place from 1 of the first zero pivot, or 0."""
    check_floating("linalg.solve", A, B)
    check_square("linalg.solve", A)
    vector = is_vector(A, B)
    if vector and not left:
        raise RuntimeError(
            "linalg.solve: Vector broadcasting of the left hand side is not supported for "
            "left=False. In this case linalg.solve is equivalent to B / A.squeeze(-1)"
        )
    if not vector and B.ndim < 2:
        raise RuntimeError(f"linalg.solve: B must be a vector or a batch of matrices, got {B.ndim}D")
    b = B.unsqueeze(-1) if vector else B  # type: ignore[attr-defined]
    check_fits("linalg.solve", A, b, left)
    a, b = batches(A, b)
    if left:
        x, info = solved(a, b)
    else:
        x, info = solved(a.transpose(-1, -2), b.transpose(-1, -2))  # type: ignore[attr-defined]
        x = x.transpose(-1, -2)
    if check_errors:
        check_info("torch.linalg.solve", info, _UNSOLVABLE)
    return return_types.linalg_solve_ex(x.squeeze(-1) if vector else x, info)


@operator(name="linalg_solve", kind="composite", method=False, namespace=_L)
def linalg_solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with ``A X = B`` (``left=False``: ``X A = B``); B may be a vector.  Raises LinAlgError for singular
    matrices."""
    return linalg_solve_ex.function(A, B, left=left, check_errors=True)[0]  # type: ignore[no-any-return]


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


# -- inverses --------------------------------------------------------------------------------------


@matrix_kernel("_inverse")
def inverse_kernel(A: Tensor) -> Any:
    """(inverse, info); info is the place (from 1) of the first pivot that is zero, or 0."""
    batch = A.shape[:-2]
    if blocked.blocked(A, A.shape[-1]):
        return blocked.invert(A)

    def compute(a: np.ndarray) -> Any:
        if a.size == 0:
            return a, np.zeros(batch, np.int32)
        return template.matrices.solve(a, np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape))

    return on_host([by_columns(A.dtype, A.shape), dense(dtypes.int32, batch)], [A], compute)


def inverted(A: Tensor) -> Any:
    """What ``inverse_kernel`` says, by whichever kernel suits the size."""
    return (small.inverse_small if small.suits(A) else inverse_kernel).function(A)


@inverse_kernel.gradient("result0")
@small.inverse_small.gradient("result0")
def _(ctx, grad, grad_info):  # type: ignore[no-untyped-def]
    back = adjoint(ctx.results[0])
    return -back.matmul(grad).matmul(back)


@operator(name="linalg_inv_ex", kind="composite", method=False, namespace=_L, returns=return_types.linalg_inv_ex)
def linalg_inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """(inverse, info); info is the place from 1 of the first zero pivot, or 0."""
    check_floating("linalg.inv", A)
    check_square("linalg.inv", A)
    found, info = inverted(A)
    if check_errors:
        check_info("linalg.inv", info, SINGULAR)
    return return_types.linalg_inv_ex(found, info)


@operator(name="linalg_inv", kind="composite", method=False, namespace=_L)
def linalg_inv(A: Tensor) -> Tensor:
    """The inverse of square matrices; raises LinAlgError for singular ones."""
    return linalg_inv_ex.function(A, check_errors=True)[0]  # type: ignore[no-any-return]


@operator(kind="composite")
def inverse(input: Tensor) -> Tensor:
    """See ``torch.linalg.inv``."""
    return linalg_inv.function(input)  # type: ignore[no-any-return]


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


# -- determinants ----------------------------------------------------------------------------------


def _pivots_and_sign(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the pivots of Gaussian elimination, the sign that the exchanges of rows give) of each matrix."""
    factors, places, _ = template.matrices.lu(a)
    odd = (places != np.arange(1, a.shape[-1] + 1)).sum(-1) % 2
    return np.diagonal(factors, 0, -2, -1), (1 - 2 * odd).astype(a.dtype)


def _signs_and_logs(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(sign, logarithm of the absolute value) of the determinants; a pivot of zero makes a matrix singular unless there
    are infinities or NaN too, where the product of the pivots is not zero but NaN."""
    with np.errstate(all="ignore"):
        if a.shape[-1] > _FEW:
            pivots, sign = _pivots_and_sign(a)
            sizes = np.abs(pivots)
            phases = pivots / np.where(sizes == 0, sizes.dtype.type(1), sizes)
            sign, log = sign * phases.prod(-1), np.log(sizes).sum(-1)
        else:
            sign, log = np.linalg.slogdet(a)
        spoilt = (sign == 0) & ~np.isfinite(a).all((-2, -1))
    return sign, np.where(spoilt, log.dtype.type(np.nan), log)


def _determinants(a: np.ndarray) -> np.ndarray:
    """The products of the pivots of Gaussian elimination, with the same care."""
    if not a.size:
        return np.ones(a.shape[:-2], a.dtype)
    with np.errstate(all="ignore"):
        if a.shape[-1] > _FEW:
            pivots, sign = _pivots_and_sign(a)
            found = pivots.prod(-1) * sign
        else:
            found = np.linalg.det(a)
        spoilt = (found == 0) & ~np.isfinite(a).all((-2, -1))
    return np.where(spoilt, found.dtype.type(np.nan), found)


@matrix_kernel("_det")
def det_kernel(A: Tensor) -> Tensor:
    """The determinant."""
    return on_host([dense(A.dtype, A.shape[:-2])], [A], _determinants)[0]


@det_kernel.gradient("A", "result")
@small.det_small.gradient("A", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    if ctx.A.shape[-1] == 1:
        return grad.unsqueeze(-1).unsqueeze(-1)
    if recorded():  # a form that has derivatives itself
        scale = (grad * (ctx.result.conj() if ctx.result.dtype.is_complex else ctx.result)).unsqueeze(-1).unsqueeze(-1)
        return scale * adjoint(inverted(ctx.A)[0])
    return grad.unsqueeze(-1).unsqueeze(-1) * cofactors.function(ctx.A)


@no_grad()
def _first_try(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(inverse, info, determinant), all plain and both by the same kind of elimination."""
    kernel = small.det_small if small.suits(A) else det_kernel
    return (*inverted(A), kernel.function(A))


@matrix_kernel("_cofactors", differentiable=False)
def cofactors(A: Tensor) -> Tensor:
    """``conj(det(A)) A^-H``; through singular values where that is not safe, so that it is right for singular matrices
    as well."""

    known = [numpy_view(t) for t in _first_try(A)] if A.numel() and A.device is not devices.meta else []

    def compute(a: np.ndarray) -> np.ndarray:
        if not a.size:
            return a
        with np.errstate(all="ignore"):
            inverse, failed, det = known
            found = det.conj()[..., None, None] * inverse.conj().swapaxes(-1, -2)
            size = np.abs(a).sum(-1).max(-1) * np.abs(inverse).sum(-1).max(-1)  # the condition in the norm of rows
            # errors of the two factors, which come from one elimination, cancel as long as it has any digits
            doubtful = (failed != 0) | ~(size < np.finfo(a.dtype).eps ** -0.75)
            if doubtful.any():
                found[doubtful] = _cofactors_by_values(a[doubtful])
        return found

    return on_host([by_columns(A.dtype, A.shape)], [A], compute)[0]


def _cofactors_by_values(a: np.ndarray) -> np.ndarray:
    """``conj(det(A)) A^-H`` by singular values: to each vector belongs the product of the other ones' values."""
    u, s, vh, _ = template.spectra.singular(a, True)
    others = np.where(np.eye(s.shape[-1], dtype=bool), s.dtype.type(1), s[..., None, :]).prod(-1)
    sign = (np.linalg.det(u) * np.linalg.det(vh)).conj()[..., None, None]
    return sign * ((u * others[..., None, :]) @ vh)  # type: ignore[no-any-return]


@matrix_kernel("_slogdet")
def slogdet_kernel(A: Tensor) -> Any:
    """(sign, logarithm of the absolute value) of the determinant."""
    batch = A.shape[:-2]

    def compute(a: np.ndarray) -> Any:
        return _signs_and_logs(a) if a.size else (np.ones(batch), np.zeros(batch))

    return on_host([dense(A.dtype, batch), dense(A.dtype.to_real(), batch)], [A], compute)


@slogdet_kernel.gradient("A", "result0")
@small.slogdet_small.gradient("A", "result0")
def _(ctx, grad_sign, grad_log):  # type: ignore[no-untyped-def]
    if grad_log is None and (grad_sign is None or not ctx.A.dtype.is_complex):
        return None
    scale = 0 if grad_log is None else grad_log
    if grad_sign is not None and ctx.A.dtype.is_complex:
        sign = ctx.results[0]
        scale = scale - view_as_real.function(grad_sign.conj() * sign).select(-1, 1) * 1j
    if not ctx.A.shape[-1]:
        return ctx.A * 0
    return (scale.unsqueeze(-1).unsqueeze(-1)).to(ctx.A.dtype) * adjoint(inverted(ctx.A)[0])


def _signs(A: Tensor) -> Any:
    return (small.slogdet_small if small.suits(A) else slogdet_kernel).function(A)


@operator(name="linalg_det", kind="composite", method=False, namespace=_L)
def linalg_det(A: Tensor) -> Tensor:
    """The determinant of square matrices."""
    check_floating("linalg.det", A)
    check_square("linalg.det", A)
    return (small.det_small if small.suits(A, always=small.MOST) else det_kernel).function(A)  # type: ignore[no-any-return]


@operator(kind="composite", out=False)
def det(input: Tensor) -> Tensor:
    """See ``torch.linalg.det``."""
    return linalg_det.function(input)  # type: ignore[no-any-return]


@operator(name="linalg_slogdet", kind="composite", method=False, namespace=_L, returns=return_types.linalg_slogdet)
def linalg_slogdet(A: Tensor) -> Any:
    """(sign, logarithm of the absolute value) of the determinant; (0, -inf) for singular matrices."""
    check_floating("linalg.slogdet", A)
    check_square("linalg.slogdet", A)
    return return_types.linalg_slogdet(*_signs(A))


@operator(kind="composite", returns=return_types.slogdet)
def slogdet(input: Tensor) -> Any:
    """See ``torch.linalg.slogdet``."""
    return return_types.slogdet(*linalg_slogdet.function(input))


@operator(kind="composite", out=False)
def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant; NaN where it is negative."""
    check_floating("logdet", input)
    check_square("logdet", input)
    sign, size = _signs(input)
    if input.dtype.is_complex:
        return sign.log() + size  # type: ignore[no-any-return]
    return where.function(sign == -1, math.nan, size)  # type: ignore[no-any-return]
