"""Small matrices in batches, factored and solved by kernels of our own (``template.small_matrices``).

LAPACK takes one matrix after the other, and a matrix of ten rows is done before its routine has found out what it is to
do; here each lane of a vector computes a matrix.  The operators mean what those of the same name in ``factors`` and
``systems`` mean, which decide by `suits` whom they ask.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from .. import template
from ..dispatch.operator import operator
from ..layout import column_strides, contiguous_strides
from ..tensor import Tensor

__all__ = ["suits"]

ALWAYS = 48
"""Rows and columns up to which a single matrix is faster here than through LAPACK."""
MOST = 64
"""Rows and columns up to which many matrices are."""
_MANY = 8
WIDE = 16
"""Rows and columns up to which twice the precision costs next to nothing."""


def suits(*operands: Tensor, always: int = ALWAYS) -> bool:
    """Whether matrices of these shapes are for this file; ``always`` is for what is quicker here than ``ALWAYS``."""
    shapes = [x._layout.shape for x in operands]
    largest = max([max(shape[-1], shape[-2]) for shape in shapes])
    return largest <= always or (largest <= MOST and math.prod(shapes[0]) >= _MANY * shapes[0][-1] * shapes[0][-2])


def _wide(A: Tensor) -> bool:
    """Whether elimination is done in double precision."""
    return max(A.shape[-2:]) <= WIDE and A.dtype.to_real() is dtypes.float32


def _matrices(x: Tensor) -> Tensor:
    """Batch dimensions joined, in memory where rows or columns are contiguous."""
    g, node = prim.current().graph, prim.read(x)
    base = node
    while base.op in ("move", "reshape"):
        base = base.inputs[0]
    # a traced tensor's own strides are those of a contiguous argument; the node knows how it lies
    own = base.op == "input" and base.attrs[1] != contiguous_strides(base.shape)
    strides = node.attrs[1] if node.op == "input" else () if own else x._layout.strides
    if x.ndim == 3 and 1 in strides[-2:]:
        return x
    return prim.wrap(g.in_memory(g.reshape(node, (math.prod(x.shape[:-2]), *x.shape[-2:]))))


def _computed(task: object, inputs: Sequence[Tensor], batch: Sequence[int], results: Sequence[Any]) -> tuple[Any, ...]:
    """The results of a task: ``results`` are (shape of one matrix's, type).  The columns of matrices lie in one piece
    each, as those of LAPACK do."""
    count = math.prod(batch)
    shapes = [(*batch, *shape) for shape, _ in results]
    strides = [column_strides(whole) if len(shape) == 2 else None for whole, (shape, _) in zip(shapes, results)]
    g = prim.current().graph
    if not count or any(0 in shape for shape, _ in results[:1]):
        nodes = [
            prim.read(prim.const(0, kind, whole) if kind is dtypes.int32 else prim.undef(whole, kind))
            for whole, (_, kind) in zip(shapes, results)
        ]
    else:
        found = prim.extern(task, [_matrices(x) for x in inputs], [((count, *shape), kind) for shape, kind in results])
        nodes = [g.reshape(prim.read(t), whole) for t, whole in zip(found, shapes)]
    return tuple([prim.wrap(node, lie) for node, lie in zip(nodes, strides)])


@operator(name="_cholesky_small", method=False, function=False)
def cholesky_small(A: Tensor, upper: bool) -> Any:
    """See ``factors.cholesky_kernel``."""
    task = template.small_matrices.Cholesky(upper)
    return _computed(task, [A], A.shape[:-2], [(A.shape[-2:], A.dtype), ((), dtypes.int32)])


@operator(name="_lu_small", method=False, function=False)
def lu_small(A: Tensor) -> Any:
    """See ``factors.lu_kernel``."""
    m, n = A.shape[-2:]
    results = [((m, n), A.dtype), ((min(m, n),), dtypes.int32), ((), dtypes.int32)]
    return _computed(template.small_matrices.Lu(_wide(A)), [A], A.shape[:-2], results)


def _pivots(A: Tensor) -> Tensor:
    """The pivots of elimination, whose product is the determinant."""
    n = A.shape[-1]
    found = _computed(template.small_matrices.Pivots(), [A], A.shape[:-2], [((1, n), A.dtype)])[0]
    return found.squeeze(-2)  # type: ignore[no-any-return]


@operator(name="_det_small", method=False, function=False)
def det_small(A: Tensor) -> Tensor:
    """See ``systems.det_kernel``."""
    return _pivots(A).prod(-1)  # type: ignore[attr-defined,no-any-return]


@operator(name="_slogdet_small", method=False, function=False)
def slogdet_small(A: Tensor) -> Any:
    """See ``systems.slogdet_kernel``."""
    pivots = _pivots(A)
    return pivots.sgn().prod(-1), pivots.abs().log().sum(-1)  # type: ignore[attr-defined]


@operator(name="_solve_small", method=False, function=False)
def solve_small(A: Tensor, B: Tensor) -> Any:
    """See ``systems.solve_kernel``."""
    task = template.small_matrices.Solve(_wide(A))
    return _computed(task, [A, B], A.shape[:-2], [(B.shape[-2:], B.dtype), ((), dtypes.int32)])


@operator(name="_inverse_small", method=False, function=False)
def inverse_small(A: Tensor) -> Any:
    """See ``systems.inverse_kernel``."""
    task = template.small_matrices.Solve(False)
    return _computed(task, [A], A.shape[:-2], [(A.shape[-2:], A.dtype), ((), dtypes.int32)])


@operator(name="_triangular_small", method=False, function=False)
def triangular_small(A: Tensor, B: Tensor, upper: bool, left: bool, unit: bool) -> Tensor:
    """See ``systems.triangular_kernel``."""
    task = template.small_matrices.Triangular(upper, left, unit)
    return _computed(task, [A, B], A.shape[:-2], [(B.shape[-2:], B.dtype)])[0]  # type: ignore[no-any-return]


@operator(name="_cholesky_solve_small", method=False, function=False, differentiable=False)
def cholesky_solve_small(L: Tensor, B: Tensor) -> Tensor:
    """X with ``L L^H X = B``."""
    task = template.small_matrices.CholeskySolve()
    return _computed(task, [L, B], L.shape[:-2], [(B.shape[-2:], B.dtype), ((), dtypes.int32)])[0]  # type: ignore[no-any-return]


@operator(name="_cholesky_inverse_small", method=False, function=False)
def cholesky_inverse_small(L: Tensor) -> Any:
    """See ``factors.cholesky_inverse_kernel``."""
    task = template.small_matrices.CholeskySolve()
    return _computed(task, [L], L.shape[:-2], [(L.shape[-2:], L.dtype), ((), dtypes.int32)])


@operator(name="_lu_solve_small", method=False, function=False, differentiable=False)
def lu_solve_small(LU: Tensor, pivots: Tensor, B: Tensor, transposed: bool) -> Any:
    """(X, info) with ``A X = B``, or for the conjugate transpose of A; info is not 0 where pivots are none."""
    rows = pivots.unsqueeze(-2)  # type: ignore[attr-defined]
    task = template.small_matrices.LuSolve(transposed)
    return _computed(task, [LU, rows, B], LU.shape[:-2], [(B.shape[-2:], B.dtype), ((), dtypes.int32)])


@operator(name="_order_small", method=False, function=False, differentiable=False)
def order_small(pivots: Tensor, n: int) -> Any:
    """(order, info): see ``factors.permutation_kernel``; info is not 0 where pivots are none."""
    rows, batch = pivots.unsqueeze(-2), pivots.shape[:-1]  # type: ignore[attr-defined]
    order, info = _computed(template.small_matrices.Order(n), [rows], batch, [((n,), dtypes.int32), ((), dtypes.int32)])
    return order.to(dtypes.int64), info
