"""Long reductions read memory in several places at once.

A processor fetches ahead within a page, for one sequence of addresses after the other: of an array read from end to
end, one part of the time is spent waiting at the beginnings of pages.  Four parts of it read side by side keep more of
the memory busy (Zen 3: 26 GB/s on one thread instead of 19).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..loop.nodes import Expr, Init, Loop, Pool, Stmt, Update, visit
from .group import Reduction
from .kernel import KernelBuilder

__all__ = ["streams_of", "together"]

_STREAMS = 4
"""Arrays (parts of arrays) that are read at once."""
_LONG = 16384
"""Elements of a row from which on it is read in parts."""
_RUN = 256
"""Elements of a part that are summed before they are added to those before, so that rounding errors do not add up."""


def streams_of(b: KernelBuilder, stage: Sequence[Reduction], row: int) -> int:
    """The number of parts in which a row of so many elements is read at once; 1 where that is of no use: there is much
    to compute for an element, several arrays are read anyway, or not one element after the other."""
    vector, coefficients = b.nest.vector, b.nest.coefficients
    if row < _LONG or b.nest.heavy or vector is None or any(r.index is not None for r in stage):
        return 1
    loads: dict[tuple[int, int], None] = {}
    looked_up: dict[tuple[int, int], None] = {}
    for r in stage:
        visit(r.value, lambda e: (looked_up if e.args else loads).setdefault(e.attr) if e.op == "access" else None)
    steps = [coefficients[form].get(vector, 0) for _, form in loads]
    if looked_up or not {1} <= set(steps) <= {0, 1}:
        return 1
    return max(1, _STREAMS // steps.count(1))


def together(
    b: KernelBuilder, stage: Sequence[Reduction], sums: dict[str, str], d: int, streams: int, unroll: int
) -> tuple[Stmt, Expr]:
    """(what folds ``streams`` equal parts of dimension ``d`` at once, where the rest of it begins).

    ``sums``, accumulators and their types, are taken by runs.
    """
    make, const = b.pool.make, b.pool.const
    (lo, hi), name = b.bounds(d), b.nest.name_of[d]
    run = const(_RUN, "i64")
    runs = make("quot", "i64", (make("sub", "i64", (hi, lo)), const(streams * _RUN, "i64")))
    part = make("mul", "i64", (runs, run))
    inside: list[Stmt] = []
    for k in range(streams):
        shift = make("mul", "i64", (part, const(k, "i64")))
        for r in stage:
            value = b.expr(r.value)
            value = _shifted(b.pool, value, name, shift, {}) if k else value
            inside.append(Update(f"{r.acc}.run" if r.acc in sums else r.acc, r.kind, value, None))
    rest = make("add", "i64", (lo, make("mul", "i64", (part, const(streams, "i64")))))
    if not sums:
        return Loop(name, lo, make("add", "i64", (lo, part)), True, unroll, tuple(inside)), rest
    first = make("add", "i64", (lo, make("mul", "i64", (make("var", "i64", (), "block"), run))))
    start = [Init(f"{acc}.run", "add", type_) for acc, type_ in sums.items()]
    loop = Loop(name, first, make("add", "i64", (first, run)), True, unroll, tuple(inside))
    whole = [Update(acc, "add", make("acc", type_, (), f"{acc}.run"), None) for acc, type_ in sums.items()]
    return Loop("block", const(0, "i64"), runs, False, 1, (*start, loop, *whole)), rest


def _shifted(pool: Pool, e: Expr, name: str, shift: Expr, memo: dict[int, Expr]) -> Expr:
    """The expression with ``shift`` added to the loop variable of this name."""
    found = memo.get(id(e))
    if found is None:
        if e.op == "var" and e.attr == name:
            found = pool.make("add", "i64", (e, shift))
        elif e.op == "affine":
            # the variable stays a term of its own, by which the loop's accesses are seen to be contiguous
            pairs = list(zip(e.args[::2], e.args[1::2]))
            moved = [(shift, s) for i, s in pairs if i.op == "var" and i.attr == name]
            kept = [(i if i.op == "var" else _shifted(pool, i, name, shift, memo), s) for i, s in pairs]
            found = pool.make("affine", e.type, tuple(x for pair in kept + moved for x in pair))
        else:
            args = tuple([_shifted(pool, a, name, shift, memo) for a in e.args])
            found = pool.make(e.op, e.type, args, e.attr)
        memo[id(e)] = found
    return found
