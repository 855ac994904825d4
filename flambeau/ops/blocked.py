"""Large systems by blocks: a small block on the diagonal is LAPACK's, everything else a product.

The recursions halve the matrix (F. Gustavson, "Recursion leads to automatic variable blocking for dense linear-algebra
algorithms", 1997), so that nearly all of the arithmetic is in few large products, which run at the machine's speed on
all threads; the routines of OpenBLAS reach a fifth of it.  All functions take real matrices, batches included.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import device as devices
from .. import dtype as dtypes
from .. import template
from ..autograd.mode import no_grad
from ..layout import dense
from ..tensor import Tensor, numpy_view
from .lapack import by_columns, identity_like, in_columns, on_host

__all__ = ["blocked", "invert", "solve", "substitute"]

LEAF = 128
"""Rows of a block that is not halved again (of 32 to 128 the fastest for systems of 512 rows)."""


def blocked(A: Tensor, sides: int) -> bool:
    """Whether square matrices with so many right sides are large enough for this file, and of a type that it takes."""
    return min(A.shape[-1], sides) > LEAF and A.dtype.kind == "f" and A.device is not devices.meta


@no_grad()
def solve(A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """(X, info) with ``A X = B``: Gaussian elimination with row exchanges; see ``solve_kernel``."""
    factors, order, info = _factors(A)
    X = B.gather(-2, order.unsqueeze(-1).expand(B.shape))  # type: ignore[attr-defined]
    substitute(factors, X, False, True)
    substitute(factors, X, True, False)
    return in_columns(X), info


def invert(A: Tensor) -> tuple[Tensor, Tensor]:
    """(inverse, info) of square matrices."""
    return solve(A, identity_like(A))


def _factors(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(L and U in one matrix, the order of the rows, info)."""
    n, batch = A.shape[-1], A.shape[:-2]

    def compute(a: np.ndarray) -> Any:
        found, pivots, info = template.matrices.lu(a)
        return found, template.matrices.permutations(pivots, n), info

    order = dense(dtypes.int64, (*batch, n))
    return on_host([by_columns(A.dtype, A.shape), order, dense(dtypes.int32, batch)], [A], compute)  # type: ignore[return-value]


def substitute(A: Tensor, X: Tensor, upper: bool, unit: bool) -> None:
    """Writes the solution of ``A Y = X`` over X, for triangular A, of which only the one triangle is read."""
    n = A.shape[-1]
    if n <= LEAF:
        # X lies by rows: the transpose of the system is by columns
        a, x = numpy_view(A).swapaxes(-1, -2), numpy_view(X).swapaxes(-1, -2)
        x[...] = template.matrices.substitute(a, x, not upper, False, unit)
        return
    half = _half(n)
    above, below = X.narrow(-2, 0, half), X.narrow(-2, half, n - half)  # type: ignore[attr-defined]
    first, last = _corner(A, 0, 0, half), _corner(A, half, half, half)
    if upper:
        substitute(last, below, upper, unit)
        _subtract_product(above, _corner(A, 0, half, half), below)
        substitute(first, above, upper, unit)
    else:
        substitute(first, above, upper, unit)
        _subtract_product(below, _corner(A, half, 0, half), above)
        substitute(last, below, upper, unit)


def _half(n: int) -> int:
    return (n // LEAF + 1) // 2 * LEAF


def _corner(A: Tensor, row: int, column: int, half: int) -> Tensor:
    """The block of A that begins at this row and column, each 0 or ``half``."""
    n = A.shape[-1]
    part = A.narrow(-2, row, n - half if row else half)  # type: ignore[attr-defined]
    return part.narrow(-1, column, n - half if column else half)  # type: ignore[no-any-return]


def _subtract_product(into: Tensor, left: Tensor, right: Tensor) -> None:
    """``into - left @ right``, written over ``into``."""
    if into.ndim == 2:
        into.addmm_(left, right, alpha=-1)  # type: ignore[attr-defined]
    else:
        into.sub_(left.matmul(right))  # type: ignore[attr-defined]
