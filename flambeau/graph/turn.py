"""Copies from runs along one dimension to runs along another: tiles are turned over in registers."""

from __future__ import annotations

import math

from ..dtype import coded
from ..loop.nodes import TILE, Expr, Loop, Turn
from .complex import PART
from .kernel import KernelBuilder, KernelCall

__all__ = ["turned"]


def turned(b: KernelBuilder) -> KernelCall | None:
    """The kernel of a group that copies elements from runs along one dimension to runs along another, in tiles that
    are turned over in registers; None for any other group."""
    g, make = b.g, b.pool.make
    alone = g.stages or g.scan_writes or g.row_writes or g.serial or g.split is not None or any(g.checks)
    if alone or len(g.element_writes) != 1:
        return None
    w = g.element_writes[0]
    value = w.value
    type_ = g.type_of(w.buffer)
    if w.kind != "store" or w.others or value.op != "access" or value.args or type_ != g.type_of(value.attr[0]):
        return None
    to, source = b.nest.coefficients[w.form], b.nest.coefficients[value.attr[1]]
    extent = {d: n for d, n, _ in b.nest.loops}
    long = [d for d in extent if extent[d] >= TILE]
    rows = next((d for d in long if source.get(d, 0) == 1 and to.get(d, 0) > 1), None)
    cols = next((d for d in long if to.get(d, 0) == 1 and source.get(d, 0) > 1), None)
    if rows is None or cols is None or type_ in PART or coded(type_).itemsize > 8:
        return None
    tiles = {d: -(-extent[d] // TILE) for d in (rows, cols)}
    others = [(d, n) for d, n in extent.items() if d not in tiles]

    def offset(form: int) -> Expr:
        terms = b.nest.coefficients[form]
        pairs: list[Expr] = []
        for d, c in terms.items():
            if d in extent:
                pairs += [b.var(d), b.word(c * TILE if d in tiles else c)]
        if g.forms[form].const:
            pairs += [b.word(g.forms[form].const), b.pool.const(1, "i64")]
        return make("affine", "i64", tuple(pairs))

    def left(d: int) -> Expr:
        side = b.pool.const(TILE, "i64")
        rest = make("sub", "i64", (b.word(extent[d]), make("mul", "i64", (b.var(d), side))))
        return make("min", "i64", (rest, side))

    turn = Turn(
        b.buffer(value.attr[0]), b.buffer(w.buffer), offset(value.attr[1]), b.word(source[cols]),
        offset(w.form), b.word(to[rows]), left(rows), left(cols),
    )  # fmt: skip
    b.written.add(turn.target)
    across = Loop(b.nest.name_of[cols], b.pool.const(0, "i64"), b.word(tiles[cols]), False, 1, (turn,))
    outer = [*others, (rows, tiles[rows])]
    for d in tiles:  # `with_digits` asks for the extent of a loop that counts tiles
        b.extents[d] = b.word(tiles[d])
    body = b.with_digits((across,), outer, make("var", "i64", (), "unit"))
    return b.finish(body, math.prod(n for _, n in outer), TILE * extent[cols])
