"""Decompositions of few singular values, by random projections (Halko, Martinsson and Tropp 2011)."""

from __future__ import annotations

from typing import Any

from .. import dtype as dtypes
from ..tensor import Tensor
from . import random
from .common import overridable
from .lapack import adjoint, check_floating
from .qr import dominant_basis_kernel, qr_kernel
from .svd_eig import low_rank_kernel, svd_kernel

__all__ = ["get_approximate_basis", "pca_lowrank", "svd_lowrank"]


def _less(A: Any, M: Any) -> Any:
    """``A - M`` as a function of what it is multiplied by."""
    return (lambda x: A.matmul(x)) if M is None else (lambda x: A.matmul(x) - M.matmul(x))


def _start(A: Tensor, q: int) -> Tensor:
    """Random columns (..., n, q)."""
    n, kind = A.shape[-1], A.dtype if A.dtype.kind in "fc" else dtypes.get_default_dtype()
    return random.randn(n, q, dtype=kind, device=A.device).expand((*A.shape[:-2], n, q))  # type: ignore[attr-defined,no-any-return]


def _on_host(A: Tensor, start: Tensor, M: Tensor | None) -> bool:
    """Whether all can be computed by LAPACK in one go: ordinary tensors that need no gradient."""
    kind = start.dtype
    plain = all(t is None or not (t._key is None or t.requires_grad or t.dtype is not kind) for t in (A, M))
    return plain and start.shape[-1] <= min(A.shape[-2:]) and kind.wide is kind


def get_approximate_basis(A: Tensor, q: int, niter: int | None = 2, M: Tensor | None = None) -> Tensor:
    """Orthonormal columns (..., m, q) that nearly span the range of ``A - M``; ``niter`` power iterations sharpen
    it."""
    start, steps = _start(A, q), 2 if niter is None else niter
    if _on_host(A, start, M):
        return dominant_basis_kernel.function(A if M is None else A - M, start, steps)  # type: ignore[no-any-return]
    return _basis(A, start, steps, M)


def _basis(A: Tensor, start: Tensor, steps: int, M: Tensor | None) -> Tensor:
    """The same from these columns, by operators."""
    forward = _less(A, M)
    back = _less(adjoint(A), None if M is None else adjoint(M))

    def orthonormal(x: Tensor) -> Tensor:
        return qr_kernel.function(x, "reduced")[0]  # type: ignore[no-any-return]

    Q = orthonormal(forward(start))
    for _ in range(steps):
        Q = orthonormal(forward(orthonormal(back(Q))))
    return Q


@overridable
def svd_lowrank(
    A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """(U, S, V) of the ``q`` greatest singular values of ``A - M``, nearly: ``U diag(S) V^H``."""
    check_floating("svd_lowrank", A)
    q = 6 if q is None else q
    M = None if M is None else M.expand(A.shape)  # type: ignore[attr-defined]
    if A.shape[-2] < A.shape[-1]:
        U, S, V = svd_lowrank(adjoint(A), q, niter, None if M is None else adjoint(M))
        return V, S, U
    start, steps = _start(A, q), 2 if niter is None else niter
    if _on_host(A, start, M):
        U, S, Vh = low_rank_kernel.function(A if M is None else A - M, start, steps)
        return U, S, adjoint(Vh)
    Q = _basis(A, start, steps, M)
    B = adjoint(Q).matmul(A if M is None else A - M)  # type: ignore[attr-defined]
    U, S, Vh = svd_kernel.function(B, False)
    return Q.matmul(U), S, adjoint(Vh)  # type: ignore[attr-defined]


@overridable
def pca_lowrank(A: Tensor, q: int | None = None, center: bool = True, niter: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """(U, S, V): the ``q`` (by default at most 6) principal directions V of the rows of A, nearly; rows are centred
    first."""
    check_floating("pca_lowrank", A)
    m, n = A.shape[-2], A.shape[-1]
    q = min(6, m, n) if q is None else q
    if not 0 <= q <= min(m, n):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    if not center:
        return svd_lowrank(A, q, niter)
    return svd_lowrank(A - A.mean(-2, True), q, niter)  # type: ignore[attr-defined]
