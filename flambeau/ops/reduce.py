"""Reductions: sums, products, extremes, means, norms of dimensions."""

from __future__ import annotations

from collections.abc import Sequence

from .. import dtype as dtypes
from .. import primitives as prim
from ..dtype import dtype as dtype_
from ..operator import operator
from ..tensor import Tensor
from .common import dims_of, drop_dims, unreduce

__all__: list[str] = []


@operator()
def sum(input: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False, *, dtype: dtype_ | None = None) -> Tensor:
    """The sum over ``dim`` (an int, several, or None for all dimensions).

    Integers and booleans are added as int64; ``dtype`` converts before adding.
    """
    kind = dtype or (dtypes.int64 if input.dtype.kind in "bui" else input.dtype)
    dims = dims_of(dim, input.ndim, "sum")
    return drop_dims(prim.reduce("add", prim.cast(input, kind), dims), dims, keepdim)


@sum.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return unreduce(grad, ctx.dim, ctx.keepdim, ctx.shape("input"))
