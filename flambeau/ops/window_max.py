"""The greatest elements of windows that lie anywhere: adaptive and fractional pooling.

A window is a product of sets of positions, one set for each dimension, so its maximum is found one dimension after the
other, and every pass goes along memory where it can.
"""

from __future__ import annotations

import math
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import operator
from ..graph.node import Graph, Node
from ..tensor import Tensor
from .pool import spread_at

__all__ = ["window_max"]


def _first_hit(g: Graph, value: Node, position: Node, dim: int) -> tuple[Node, Node]:
    """(the greatest along the last dimension, the least position where it occurs); nan is greater than all numbers."""
    best = g.reduce("max", value, (dim,))
    hit = g.apply("eq", value, best)
    if value.type.startswith(("f", "b")) and value.type != "b1":
        hit = g.apply("or", hit, g.apply("isnan", value))
    none = g.const((1 << 63) - 1, "i64")
    first = g.reduce("min", g.apply("select", hit, position, none), (dim,))
    shape = value.shape[:dim]
    return g.reshape(best, shape), g.reshape(first, shape)


@operator(name="_window_max", method=False, function=False)
def window_max(input: Tensor, at0: Tensor, at1: Tensor | None, at2: Tensor | None) -> Any:
    """(greatest element of each window, its position in the flattened spatial dimensions).

    ``at0[..., k, o]`` is the k-th position of window o along the first spatial dimension, ``at1`` and ``at2`` are those
    of the next ones; a table has the leading dimensions of ``input``, or none where all images have the same windows.
    Among equal elements the first counts, in row-major order.
    """
    tables = [at for at in (at0, at1, at2) if at is not None]
    lead = input.ndim - len(tables)
    have = input.shape[lead:]
    out = (*input.shape[:lead], *(at.shape[-1] for at in tables))
    if 0 in out:
        return prim.const(0, input.dtype, out), prim.const(0, dtypes.int64, out)
    g = prim.current().graph
    value, position = prim.read(input), None
    for d, at in enumerate(tables, lead):
        taps, places = at.shape[-2:]
        rank = len(value.shape)
        shape = (*value.shape[:d], places, *value.shape[d + 1 :], taps)
        same = [(0, ((e, 1),)) for e in range(at.ndim - 2)]
        place = g.move(prim.read(at), (*same, (0, ((rank, 1),)), (0, ((d, 1),))), shape)
        map_ = [("i", 0) if e == d else ("d", e) for e in range(rank)]
        if position is None:
            found = g.const(0, "i64", shape)
            for e in range(lead, rank):
                along = place if e == d else g.iota(shape, e)
                below = g.const(math.prod(have[e - lead + 1 :]), "i64")
                found = g.apply("add", found, g.apply("mul", along, below))
        else:
            found = g.gather(position, [place], map_, shape)
        value, position = _first_hit(g, g.gather(value, [place], map_, shape), found, rank)
    assert position is not None
    return prim.wrap(value), prim.wrap(position)


@window_max.gradient("result1")
def _(ctx, grad, grad_index):  # type: ignore[no-untyped-def]
    ndim = 1 + (ctx.at1 is not None) + (ctx.at2 is not None)
    return spread_at.function(grad, ctx.results[1], tuple(ctx.shape("input")), ndim), None, None, None
