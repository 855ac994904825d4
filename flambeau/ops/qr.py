"""Orthogonal factors: QR and products of reflections; kernels by LAPACK, derivatives, and PyTorch's interfaces."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import template
from ..dispatch.operator import operator
from ..layout import dense
from ..tensor import Tensor
from . import return_types
from .join import cat
from .lapack import adjoint, by_columns, check_floating, check_matrix, diagonal_of, matrix_kernel, on_host, real_part
from .solve import triangular

__all__: list[str] = []

_L = "torch.linalg"
_BLOCK = 64
"""Reflections up to which one product for all of them is as fast as LAPACK's, which takes so many at a time."""

# -- QR --------------------------------------------------------------------------------------------


@matrix_kernel("_qr")
def qr_kernel(A: Tensor, mode: str) -> Any:
    """(Q, R) with ``A = Q R``: "reduced", "complete", or "r" (Q is empty)."""
    (m, n), batch = A.shape[-2:], A.shape[:-2]
    k = m if mode == "complete" else min(m, n)

    def compute(a: np.ndarray) -> Any:
        if mode == "r":
            found = template.matrices.triangulate(a)[0] if a.size else np.zeros((*batch, m, n))
            found = template.matrices.upper(found[..., :k, :])
            return np.zeros((0,), a.dtype), found
        if not a.size:
            eye = np.broadcast_to(np.eye(m, k, dtype=a.dtype), (*batch, m, k))
            return eye, np.zeros((*batch, k, n), a.dtype)
        return template.matrices.orthogonalize(a, mode == "complete")

    left = dense(A.dtype, (0,)) if mode == "r" else by_columns(A.dtype, (*batch, m, k))
    return on_host([left, by_columns(A.dtype, (*batch, k, n))], [A], compute)


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


@matrix_kernel("_dominant_basis", differentiable=False)
def dominant_basis_kernel(A: Tensor, start: Tensor, steps: int) -> Tensor:
    """Orthonormal columns that nearly span the range of A, from random columns and ``steps`` power iterations."""

    def compute(a: np.ndarray, columns: np.ndarray) -> Any:
        return template.matrices.dominant_basis(a, columns, steps) if a.size and columns.size else np.zeros(shape)

    shape = (*A.shape[:-1], start.shape[-1])
    return on_host([by_columns(A.dtype, shape)], [A, start], compute)[0]


def _square_qr(Q: Tensor, R: Tensor, gq: Tensor, gr: Tensor) -> Tensor:
    """The gradient where R is square: ``(gQ + Q copy(R gR^H - gQ^H Q)) R^-H``, "copy" mirroring the lower triangle."""
    inner = R.matmul(adjoint(gr)) - adjoint(gq).matmul(Q)  # type: ignore[attr-defined]
    low = inner.tril(-1)
    diagonal = diagonal_of(inner)
    diagonal = real_part(diagonal).to(inner.dtype) if inner.dtype.is_complex else diagonal
    mirrored = low + adjoint(low) + diagonal.diag_embed()  # type: ignore[attr-defined]
    return triangular(adjoint(R), gq + Q.matmul(mirrored), False, False, False)  # type: ignore[attr-defined,no-any-return]


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


# -- reflections -----------------------------------------------------------------------------------


@matrix_kernel("_geqrf", differentiable=False)
def geqrf_kernel(A: Tensor) -> Any:
    """(a, tau): R above the Householder vectors, and their factors."""
    (m, n), batch = A.shape[-2:], A.shape[:-2]
    k = min(m, n)

    def compute(a: np.ndarray) -> Any:
        if not a.size:
            return a, np.zeros((*batch, k))
        return template.matrices.triangulate(a)

    return on_host([by_columns(A.dtype, A.shape), dense(A.dtype, (*batch, k))], [A], compute)


@operator(kind="composite", returns=return_types.geqrf)
def geqrf(input: Tensor) -> Any:
    """(a, tau): R and below it the Householder vectors of Q, and their factors."""
    check_floating("geqrf", input)
    check_matrix("geqrf", input)
    return return_types.geqrf(*geqrf_kernel.function(input))


@matrix_kernel("_householder_product", differentiable=False)
def householder_kernel(A: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of the reflections in A, of which there is at least one."""

    def compute(a: np.ndarray, t: np.ndarray) -> Any:
        return template.matrices.reflections(a, t) if a.size else a

    return on_host([by_columns(A.dtype, A.shape)], [A, tau], compute)[0]


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
    product = _reflect(A, tau, one.expand((*A.shape[:-2], m, n)), False)
    return product.transpose(-2, -1).contiguous().transpose(-2, -1)  # type: ignore[attr-defined,no-any-return]


@matrix_kernel("_reflect", differentiable=False)
def reflect_kernel(A: Tensor, tau: Tensor, x: Tensor, transposed: bool) -> Tensor:
    """What ``_reflect`` says, by LAPACK; batches are equal, and there is at least one reflection."""

    def compute(a: np.ndarray, t: np.ndarray, b: np.ndarray) -> Any:
        return template.matrices.reflect(a, t, b, transposed) if b.size else b

    return on_host([by_columns(x.dtype, x.shape)], [A, tau, x], compute)[0]


def _reflect(A: Tensor, tau: Tensor, x: Tensor, transposed: bool) -> Tensor:
    """``Q x`` or ``Q^H x`` for the product Q of the reflections in A.

    With the vectors as the columns of V, ``Q = 1 - V T V^H`` and the inverse of T has the factors' on its diagonal and
    what V^H V has above it (C. Puglisi, "Modification of the Householder method based on the compact WY
    representation", 1992); here ``T = (1 + D U)^-1 D``, as factors may be 0.
    """
    m, k = A.shape[-2], tau.shape[-1]
    plain = all(t._key is not None and not t.requires_grad for t in (A, tau, x))
    if plain and A.ndim == 2 and x.ndim == 2 and min(m, k) > _BLOCK:
        return reflect_kernel.function(A, tau, x, transposed)  # type: ignore[no-any-return]
    below: Any = A.narrow(-1, 0, k).tril(-1)  # type: ignore[attr-defined]
    vectors = below + A.new_ones((m,)).diag_embed().narrow(-1, 0, k)  # type: ignore[attr-defined]
    turned: Any = adjoint(vectors)
    factors: Any = tau.unsqueeze(-1)  # type: ignore[attr-defined]
    system = factors * turned.matmul(vectors).triu(1)  # the ones on the diagonal are understood
    inner = turned.matmul(x)
    if transposed:
        inner = triangular(adjoint(system), inner, False, True, True)
        inner = (factors.conj() if factors.dtype.is_complex else factors) * inner
    else:
        inner = triangular(system, factors * inner, True, True, True)
    return x - vectors.matmul(inner)  # type: ignore[no-any-return]


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
    side = -2 if left else -1
    if input3.shape[side] != input.shape[-2]:
        raise RuntimeError(f"torch.ormqr: other.shape[{side}] must be equal to input.shape[-2]")
    if input2.ndim != input.ndim - 1 or input3.ndim != input.ndim:
        raise RuntimeError(
            "torch.ormqr: Expected tau to have one dimension less than input, and other as many, but they have "
            f"{input2.ndim}, {input.ndim} and {input3.ndim}"
        )
    if not input2.shape[:-1] == input3.shape[:-2] == input.shape[:-2]:
        raise RuntimeError(
            "torch.ormqr: Expected batch dimensions of tau and other to be equal to input.shape[:-2], but got "
            f"{list(input2.shape[:-1])}, {list(input3.shape[:-2])} and {list(input.shape[:-2])}"
        )
    if input2.shape[-1] != min(input3.shape[side], input.shape[-1]):
        raise RuntimeError(f"torch.ormqr: tau.shape[-1] must be equal to min(other.shape[{side}], input.shape[-1])")
    if left:
        return _reflect(input, input2, input3, transpose)
    return adjoint(_reflect(input, input2, adjoint(input3), not transpose))
