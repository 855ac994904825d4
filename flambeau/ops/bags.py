"""Sums of rows of a table: over bags of row numbers, and by the number of the row that they go to."""

from __future__ import annotations

from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from .. import template
from ..dispatch.operator import operator
from ..graph.node import Node
from ..tensor import Tensor
from . import create

__all__: list[str] = []


def suits(table: Tensor, indices: Tensor, offsets: Tensor | None) -> bool:
    """Whether ``bag_sums`` takes these."""
    whole = (dtypes.int32, dtypes.int64)
    plain = table.ndim == 2 and table.dtype.kind == "f" and table.dtype.itemsize > 1
    return plain and indices.dtype in whole and (offsets is None or offsets.dtype in whole)


@operator(name="_bag_sums", method=False, function=False, out=False)
def bag_sums(
    table: Tensor, indices: Tensor, offsets: Tensor | None, weights: Tensor | None, closed: bool, mean: bool,
    padding_idx: int, scale_grad_by_freq: bool,
) -> Tensor:  # fmt: skip
    """Of rows of ``table`` (V, D) at ``indices``, times ``weights`` of their shape, the sum or the ``mean`` over each
    bag: (B, D).

    Without ``offsets`` each row of ``indices`` (B, L) is a bag.  Otherwise bag b are those of ``indices`` (N,) from
    ``offsets[b]`` to ``offsets[b + 1]``, of which there is one more than bags if they are ``closed``; else the last bag
    ends with the indices.  The row ``padding_idx`` (-1: none) is left out.
    """
    g, (bags, count) = prim.current().graph, _sizes(indices, offsets, closed)
    shape = (bags, table.shape[1])
    if 0 in (*shape, count):
        return prim.const(0, table.dtype, shape)
    if offsets is None:
        length = g.size(indices.shape[1], "i64")
        starts = g.apply("mul", g.iota((bags,), 0), length)
        ends = g.apply("add", starts, length)
    else:
        at = _in_a_row(prim.read(offsets))
        starts, ends = g.move(at, ((0, ((0, 1),)),), (bags,)), g.move(at, ((1, ((0, 1),)),), (bags + closed - 1,))
        if not closed:
            ends = g.update(g.expand(g.size(count, at.type), (bags,)), ends, ((0, ((0, 1),)),))
    rows = [prim.read(t) for t in (indices, *([] if weights is None else [prim.cast(weights, table.dtype)]))]
    index, *factors = (_in_a_row(g.reshape(n, (count,))) for n in rows)
    operands = [_in_a_row(prim.read(table)), index, starts, ends, *factors]
    spec = template.extern.BagSum(mean, padding_idx)
    return prim.extern(spec, [prim.wrap(n) for n in operands], [(shape, table.dtype)])[0]


def _sizes(indices: Tensor, offsets: Tensor | None, closed: bool) -> tuple[int, int]:
    """(bags, indices)"""
    if offsets is None:
        return indices.shape[0], indices.shape[0] * indices.shape[1]
    return offsets.shape[0] - closed, indices.shape[0]


def _in_a_row(x: Node) -> Node:
    """The value, or a copy of one whose last dimension has gaps."""
    g = prim.current().graph
    if x.op == "input" and x.attrs[1][-1] == 1:
        return x
    return g.in_memory(x)


@bag_sums.gradient("table:weights", "indices", "offsets", "weights:table")
def _(ctx: Any, grad: Any) -> Any:
    bag, used = numbers_of_bags.function(ctx.indices, ctx.offsets, ctx.closed)
    indices = ctx.indices.reshape(-1)
    if ctx.padding_idx >= 0:
        used = used & (indices != ctx.padding_idx)
    factor = used.to(grad.dtype)
    if ctx.mean:
        size = grad.new_zeros(grad.shape[:1]).index_add(0, bag, factor)
        factor = factor / size.clamp(min=1).index_select(0, bag)
    found: list[Any] = [None] * 4
    if ctx.needs("table"):
        share = factor if ctx.weights is None else factor * ctx.weights.reshape(-1)
        if ctx.scale_grad_by_freq:
            times = grad.new_zeros((ctx.shape("table")[0],)).index_add(0, indices, grad.new_ones(indices.shape))
            share = share / times.index_select(0, indices)
        found[0] = weighted_rows.function(share, indices, bag, grad, ctx.shape("table")[0])
    if ctx.needs("weights"):
        found[3] = (row_products.function(grad, ctx.table, bag, indices) * factor).reshape(ctx.indices.shape)
    return found


@operator(name="_numbers_of_bags", method=False, function=False, out=False, differentiable=False)
def numbers_of_bags(indices: Tensor, offsets: Tensor | None, closed: bool) -> Any:
    """(the bag of each of the indices, whether it is in one); see ``bag_sums``."""
    g, (bags, count) = prim.current().graph, _sizes(indices, offsets, closed)
    if offsets is None or 0 in (bags, count):
        number = g.reshape(g.iota(indices.shape, 0), (count,))
        return prim.wrap(number), prim.wrap(g.const(bool(bags), "b1", (count,)))
    ends = g.move(prim.read(offsets), ((1, ((0, 1),)),), (bags + closed - 1,))
    marks = g.scatter("add", g.const(0, "i64", (count + 1,)), g.const(1, "i64", ends.shape), [ends], [("i", 0)])
    number, last = g.move(g.scan("add", marks, 0), ((0, ((0, 1),)),), (count,)), g.size(bags, "i64")
    used = g.apply("lt", number, last)
    return prim.wrap(g.apply("min", number, g.apply("sub", last, g.const(1, "i64")))), prim.wrap(used)


# -- rows by number --------------------------------------------------------------------------------------


@operator(name="_numbers_of_rows", method=False, function=False, out=False, differentiable=False)
def _numbers_of_rows(input: Tensor, count: int) -> Tensor:
    g = prim.current().graph
    ends = g.move(prim.read(input), ((1, ((0, 1),)),), (input.shape[0] - 1,))
    marks = g.scatter(
        "add", g.const(0, "i64", (count + 1,)), g.const(1, "i64", ends.shape), [ends], [("i", 0)]
    )  # fmt: skip
    return prim.wrap(g.move(g.scan("add", marks, 0), ((0, ((0, 1),)),), (count,)))


def numbers_of_rows(pointers: Any, count: int) -> Any:
    """The number of the row to which each of ``count`` elements belongs: how many of the pointers to where rows begin
    (and the last ends), the first apart, are at most its place; a running sum of marks."""
    if pointers.shape[0] < 2 or not count:
        return create.zeros(count, dtype=dtypes.int64)
    return _numbers_of_rows.function(pointers, count)


@operator(name="_weighted_rows", method=False, function=False, out=False)
def weighted_rows(values: Tensor, rows: Tensor, columns: Tensor, other: Tensor, count: int) -> Tensor:
    """``count`` rows, each the sum of the rows of ``other`` (k, m) at ``columns``, times ``values``, whose ``rows`` it
    is; in one pass, in order."""
    n, m = columns.shape[0], other.shape[1]
    work = other.dtype.wide
    if 0 in (n, m):
        return prim.const(0, other.dtype, (count, m))
    index = [_column(t) for t in (columns, rows)]
    term = prim.cast(prim.gather(other, index[:1], [("i", 0), ("d", 1)], (n, m)), work)
    term = prim.apply("mul", prim.cast(_column(values), work), term)
    base = prim.const(0, work, (count, m))
    return prim.cast(prim.scatter("add", base, term, index[1:], [("i", 0), ("d", 1)]), other.dtype)


@weighted_rows.gradient("values:other", "rows", "columns", "other:values")
def _(ctx: Any, grad: Any) -> Any:
    values = row_products.function(grad, ctx.other, ctx.rows, ctx.columns) if ctx.needs("values") else None
    if not ctx.needs("other"):
        return values, None, None, None
    by_other = weighted_rows.function(ctx.values.conj(), ctx.columns, ctx.rows, grad, ctx.shape("other")[0])
    return values, None, None, by_other


@operator(name="_row_products", method=False, function=False, out=False)
def row_products(left: Tensor, right: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The inner products of rows of ``left`` with (conjugate) rows of ``right``: (n,) of those at ``rows`` and
    ``columns``."""
    n, m = rows.shape[0], left.shape[1]
    work = left.dtype.wide
    if 0 in (n, m):
        return prim.const(0, left.dtype, (n,))
    a, b = (
        prim.cast(prim.gather(t, [_column(i)], [("i", 0), ("d", 1)], (n, m)), work)
        for t, i in ((left, rows), (right.conj(), columns))  # type: ignore[attr-defined]
    )
    total = prim.reduce("add", prim.apply("mul", a, b), (1,))
    return prim.cast(prim.wrap(prim.current().graph.reshape(prim.read(total), (n,))), left.dtype)


@row_products.gradient("left:right", "right:left", "rows", "columns")
def _(ctx: Any, grad: Any) -> Any:
    found: list[Any] = [None] * 4
    if ctx.needs("left"):
        found[0] = weighted_rows.function(grad, ctx.rows, ctx.columns, ctx.right, ctx.shape("left")[0])
    if ctx.needs("right"):
        found[1] = weighted_rows.function(grad.conj(), ctx.columns, ctx.rows, ctx.left, ctx.shape("right")[0])
    return found


def _column(t: Tensor) -> Tensor:
    """A vector as a column, while an operator is traced."""
    return prim.wrap(prim.current().graph.reshape(prim.read(t), (t.shape[0], 1)))
