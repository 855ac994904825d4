"""Reductions of many rows to one: rows are folded several at a time from end to end, in memory's order."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..loop.nodes import Combine, Init, Loop, Prefetch, Stmt, Store, Update, visit
from .kernel import KernelBuilder, KernelCall, unroll_of

__all__ = ["folded"]

_SIDE = 8  # rows that are folded side by side
_PANEL = 256, 2048  # columns of a unit: the fewest, and the most where there are other units beside


def folded(b: KernelBuilder) -> KernelCall | None:
    """The kernel of a group that folds many rows into one, several at a time from end to end: memory is read
    in its order; what was folded so far waits in the result, which stays in the first-level cache.  None for any
    other group, and where rows are short: those are kept in registers."""
    g, make, nest = b.g, b.pool.make, b.nest
    if len(g.stages) != 1 or g.element_writes or g.scan_writes or g.serial or any(g.checks) or b.kept[0]:
        return None
    stage = {r.acc: r for r in g.stages[0]}
    targets = {w.value.attr: w for w in g.row_writes if w.kind == "store" and not w.others and w.value.op == "acc"}
    if len(targets) != len(g.row_writes) or set(targets) != set(stage) or any(r.index for r in stage.values()):
        return None
    reduced = [(d, n) for d, n, r in nest.loops if r]
    vector = nest.vector
    split_dim = len(g.space) if g.split is not None else -1
    if len(reduced) != 1 or vector in (None, reduced[0][0], split_dim):
        return None
    assert vector is not None
    n = next(n for d, n, _ in nest.loops if d == vector)
    steps = [nest.coefficients[w.form].get(vector) for w in targets.values()]
    types = all(g.type_of(targets[a].buffer) == r.type for a, r in stage.items())
    d, extent = reduced[0]
    rows = g.split[1] if g.split is not None and g.split[0] == d else extent
    if n < _PANEL[0] or rows < 2 * _SIDE or set(steps) != {1} or not types:
        return None
    const, zero, one = b.pool.const, b.pool.const(0, "i64"), b.pool.const(1, "i64")
    loads: dict[tuple[int, int], None] = {}
    for r in stage.values():
        visit(r.value, lambda e: loads.setdefault(e.attr) if e.op == "access" and not e.args else None)
    name, lane = nest.name_of[d], nest.name_of[vector]
    first, last = b.bounds(d)
    outer = [(e, m) for e, m, r in nest.loops if not r and e != vector]
    few = math.prod(m for _, m in outer)
    width = n if n <= 2 * _PANEL[1] and few >= 16 else min(_PANEL[1], max(_PANEL[0], -(-n // 1024) * 64))
    blocks = -(-n // width)
    unit, count, step = make("var", "i64", (), "unit"), b.word(blocks), b.word(width)
    left = make("mul", "i64", (make("rem", "i64", (unit, count)), step))
    right = make("min", "i64", (make("add", "i64", (left, step)), b.extent(vector)))

    def across(statements: Sequence[Stmt]) -> Loop:
        return Loop(lane, left, right, True, unroll_of(statements), tuple(statements))

    clear: list[Stmt] = []
    start: list[Stmt] = []
    fold: list[Stmt] = []
    finish: list[Stmt] = []
    for acc, r in stage.items():
        buffer, offset = b.buffer(targets[acc].buffer), b.offset(targets[acc].form)
        b.written.add(buffer)
        clear += [
            Init(f"{acc}.none", r.kind, r.type),
            Store(buffer, offset, make("acc", r.type, (), f"{acc}.none")),
        ]
        start.append(Init(acc, r.kind, r.type))
        fold.append(Update(acc, r.kind, b.expr(r.value), None))
        finish.append(Combine(buffer, offset, r.kind, make("acc", r.type, (), acc)))
    at = make("add", "i64", (first, make("mul", "i64", (make("var", "i64", (), "block"), const(_SIDE, "i64")))))
    end = make("min", "i64", (make("add", "i64", (at, const(_SIDE, "i64"))), last))
    ahead = [
        Prefetch(b.buffer(source), make("affine", "i64", (b.offset(form), one, b.word(_SIDE * apart), one)))
        for source, form in loads
        if (apart := nest.coefficients[form].get(d, 0)) and nest.coefficients[form].get(vector) == 1
    ]
    rows_together = Loop(name, at, end, False, 1 if nest.heavy else _SIDE, (*ahead, *fold))
    group = across([*start, rows_together, *finish])
    extra = make("sub", "i64", (make("add", "i64", (last, const(_SIDE - 1, "i64"))), first))
    runs = make("quot", "i64", (extra, const(_SIDE, "i64")))
    passes = (across(clear), Loop("block", zero, runs, False, 1, (group,)))
    body = b.with_digits(passes, outer, make("quot", "i64", (unit, count)))
    return b.finish(body, blocks * few, rows * width * (4 if nest.heavy else 1))
