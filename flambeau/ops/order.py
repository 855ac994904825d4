"""Sorting and selecting by order.  NaN counts as greatest."""

from __future__ import annotations

import math
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..operator import operator
from ..template.extern import Sort
from ..tensor import Tensor
from . import return_types
from .common import dim_of

__all__: list[str] = []


@operator(name="_sort", method=False, function=False)
def sort_kernel(input: Tensor, dim: int, descending: bool, k: int) -> Any:
    """The first ``k`` elements along ``dim`` in stable order, and where they were."""
    if input.dtype.is_complex:
        raise RuntimeError(f"Sort does not support complex dtypes, got {input.dtype}")
    g = prim.current().graph
    if not input.ndim:
        return prim.wrap(prim.read(input)), prim.const(0, dtypes.int64)
    d = dim_of(dim, input.ndim, "sort")
    n = input.shape[d]
    if not 0 <= k <= n:
        raise RuntimeError("selected index k out of range")
    order = [*(i for i in range(input.ndim) if i != d), d]
    moved = g.permute(prim.read(input), order)
    lead = moved.shape[:-1]
    if math.prod(moved.shape) == 0 or k == 0:
        shape = [k if i == d else m for i, m in enumerate(input.shape)]
        return prim.undef(shape, input.dtype), prim.undef(shape, dtypes.int64)
    rows = prim.wrap(g.reshape(moved, (math.prod(lead), n)))
    found = prim.extern(Sort(k, descending), [rows], [((math.prod(lead), k), input.dtype), ((math.prod(lead), k), dtypes.int64)])
    back = [order.index(i) for i in range(input.ndim)]
    return tuple(prim.wrap(g.permute(g.reshape(prim.read(t), (*lead, k)), back)) for t in found)


@sort_kernel.gradient("result1")
def _(ctx, grad, grad_index):  # type: ignore[no-untyped-def]
    shape = ctx.shape("input")
    if not shape:
        return grad
    return grad.new_zeros(shape).scatter(ctx.dim, ctx.results[1], grad)


@operator(kind="composite", returns=return_types.sort)
def sort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool | None = None) -> Any:
    """The elements along ``dim`` in ascending (or descending) order, and where they were; equal ones keep their order."""
    n = input.shape[dim_of(dim, input.ndim, "sort")] if input.ndim else 1
    return return_types.sort(*sort_kernel.function(input, dim, bool(descending), n))


@operator(kind="composite")
def argsort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Tensor:
    """The positions that sort the elements along ``dim``; equal ones keep their order."""
    n = input.shape[dim_of(dim, input.ndim, "argsort")] if input.ndim else 1
    return sort_kernel.function(input.detach(), dim, bool(descending), n)[1]  # type: ignore[attr-defined,no-any-return]


@operator(kind="composite", returns=return_types.topk)
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The ``k`` greatest (or least) elements along ``dim``, in order, and where they were.  Raises RuntimeError for k out of range."""
    return return_types.topk(*sort_kernel.function(input, dim, bool(largest), int(k)))
