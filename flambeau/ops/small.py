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
from ..tensor import Tensor

__all__ = ["suits"]

ALWAYS = 32
"""Rows and columns up to which a single matrix is faster here than through LAPACK."""
MOST = 64
"""Rows and columns up to which many matrices are."""
_MANY = 8


def suits(*operands: Tensor) -> bool:
    """Whether matrices of these shapes are for this file."""
    largest = max(max(x.shape[-2:]) for x in operands)
    return largest <= ALWAYS or (largest <= MOST and math.prod(operands[0].shape[:-2]) >= _MANY)


def _matrices(x: Tensor) -> Tensor:
    """Batch dimensions joined."""
    g = prim.current().graph
    return prim.wrap(g.in_memory(g.reshape(prim.read(x), (math.prod(x.shape[:-2]), *x.shape[-2:]))))


def _computed(task: object, inputs: Sequence[Tensor], batch: Sequence[int], results: Sequence[Any]) -> tuple[Any, ...]:
    """The results of a task: ``results`` are (shape of one matrix's, type)."""
    count = math.prod(batch)
    if not count or any(0 in shape for shape, _ in results[:1]):
        return tuple(
            prim.const(0, kind, (*batch, *shape)) if kind is dtypes.int32 else prim.undef((*batch, *shape), kind)
            for shape, kind in results
        )
    found = prim.extern(task, [_matrices(x) for x in inputs], [((count, *shape), kind) for shape, kind in results])
    g = prim.current().graph
    return tuple(prim.wrap(g.reshape(prim.read(t), (*batch, *shape))) for t, (shape, _) in zip(found, results))


@operator(name="_cholesky_small", method=False, function=False)
def cholesky_small(A: Tensor, upper: bool) -> Any:
    """See ``factors.cholesky_kernel``."""
    task = template.small_matrices.Cholesky(upper)
    return _computed(task, [A], A.shape[:-2], [(A.shape[-2:], A.dtype), ((), dtypes.int32)])
