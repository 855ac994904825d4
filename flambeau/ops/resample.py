"""Linear maps along one dimension that are given by tables: of what every place takes, and how much of it.

Interpolation and pooling to a given size are such maps, one for each dimension.  The derivative is the map of the
transposed table.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import operator
from ..tensor import Tensor
from .from_data import tensor

__all__ = ["Table", "resample", "tables"]

_UNROLLED = 16  # taps up to which they are summed one by one

Table = tuple[np.ndarray, np.ndarray]
"""Positions and weights, a row for each place; what a row has too many has the weight nan."""


@operator(name="_resample", method=False, function=False, strides="image")
def resample(input: Tensor, index: Tensor, weight: Tensor, back_index: Tensor, back_weight: Tensor, dim: int) -> Tensor:
    """Along ``dim``, sums of elements at ``index[k, o]`` times ``weight[k, o]``; the ``back`` tables are the transposed
    ones.  A weight of nan leaves its element out."""
    g = prim.current().graph
    x, at, by = prim.read(input), prim.read(index), prim.read(weight)
    taps, places = index.shape
    shape = (*input.shape[:dim], places, *input.shape[dim + 1 :])
    if 0 in shape or not taps:
        return prim.const(0, input.dtype, shape)
    nothing = g.const(0, weight.dtype.code)

    def taken(full: tuple[int, ...], tap: Any) -> Any:
        row = (tap, (0, ((dim, 1),)))
        found = g.gather(
            x, [g.move(at, row, full)], [("i", 0) if d == dim else ("d", d) for d in range(len(shape))], full
        )
        share = g.move(by, row, full)
        return g.apply(
            "select", g.apply("isnan", share), nothing, g.apply("mul", g.cast(found, weight.dtype.code), share)
        )

    if taps <= _UNROLLED:
        total = taken(shape, (0, ()))
        for k in range(1, taps):
            total = g.apply("add", total, taken(shape, (k, ())))
    else:
        rank = len(shape)
        total = g.reshape(g.reduce("add", taken((*shape, taps), (0, ((rank, 1),))), (rank,)), shape)
    return prim.cast(prim.wrap(total), input.dtype)


@resample.gradient("index", "weight", "back_index", "back_weight")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return (
        resample.function(grad, ctx.back_index, ctx.back_weight, ctx.index, ctx.weight, ctx.dim),
        None,
        None,
        None,
        None,
    )


def _transposed(table: Table, n: int) -> Table:
    """For every element, the places that take from it."""
    index, weight = table
    used = (weight != 0) & (weight == weight)
    sources, places, values = index[used], np.nonzero(used)[0], weight[used]
    order = np.argsort(sources, kind="stable")
    sources, places, values = sources[order], places[order], values[order]
    counts = np.bincount(sources, minlength=n)
    column = np.arange(len(sources)) - np.repeat(np.cumsum(counts) - counts, counts)
    width = int(counts.max(initial=0))
    back, by = np.zeros((n, width), np.int64), np.full((n, width), np.nan, weight.dtype)
    back[sources, column], by[sources, column] = places, values
    return back, by


def tables(table: Table, n: int, double: bool, device: str) -> tuple[Tensor, ...]:
    """(index, weight, transposed index, transposed weight) of the map from ``n`` elements, as `resample` takes them."""
    kind = dtypes.float64 if double else dtypes.float32
    found = []
    for index, weight in (table, _transposed(table, n)):
        for array, type_ in ((index, dtypes.int64), (weight, kind)):
            found.append(tensor(np.ascontiguousarray(array.T), dtype=type_, device=device))
    return tuple(found)
