"""Operations that cost many instructions: which they are, and how a later pass over a row avoids them."""

from __future__ import annotations

from ..loop.nodes import Expr, Pool
from .group import Group, Write

__all__ = ["HEAVY", "keep_heavy"]

HEAVY = frozenset({
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
    "cosh", "tanh",
    "asinh", "acosh", "atanh", "erf", "erfc", "erfinv", "sigmoid", "lgamma", "digamma", "pow", "atan2", "hypot", "fmod",
    "gcd", "ipow",
})  # fmt: skip


def keep_heavy(g: Group) -> list[list[Write]]:
    """Stores, by stage, of heavy values that the last pass over a row needs again.

    Where a result is computed from a heavy value of an earlier pass (the exponentials of a softmax), that pass
    leaves it in the result's memory, and the last pass reads it there instead of computing it again.  The result
    must have memory of its own: what lies in an argument may still be read.
    """
    kept: list[list[Write]] = [[] for _ in g.stages]
    if g.serial or g.scan_writes or not g.stages:
        return kept
    read = g.buffers_read()
    for k, w in enumerate(g.element_writes):
        alone = sum(other.buffer == w.buffer for other in g.element_writes + g.row_writes) == 1
        if w.kind != "store" or w.others or not alone or w.buffer in read or g.is_argument(w.buffer):
            continue
        heavy = _outermost_heavy(w.value)
        if len(heavy) != 1 or heavy[0].type != g.type_of(w.buffer):
            continue
        stage = next((n for n, rs in enumerate(g.stages) if any(_contains(r.value, heavy[0]) for r in rs)), None)
        if stage is None:
            continue
        again = g.pool.make("access", heavy[0].type, (), (w.buffer, w.form))
        kept[stage].append(w._replace(value=heavy[0]))
        g.element_writes[k] = w._replace(value=_replaced(w.value, heavy[0], again, g.pool))
    return kept


def _outermost_heavy(e: Expr) -> list[Expr]:
    """The heavy operations in an expression that are not inside of another."""
    found: dict[int, Expr] = {}
    stack, seen = [e], set()
    while stack:
        x = stack.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        if x.op in HEAVY:
            found[id(x)] = x
        else:
            stack.extend(x.args)
    return list(found.values())


def _contains(e: Expr, part: Expr) -> bool:
    stack, seen = [e], set()
    while stack:
        x = stack.pop()
        if x is part:
            return True
        if id(x) not in seen:
            seen.add(id(x))
            stack.extend(x.args)
    return False


def _replaced(e: Expr, part: Expr, by: Expr, pool: Pool) -> Expr:
    """``e`` with ``by`` for every ``part`` in it."""
    memo = {id(part): by}

    def visit(x: Expr) -> Expr:
        if id(x) not in memo:
            args = tuple(visit(a) for a in x.args)
            memo[id(x)] = x if all(a is b for a, b in zip(args, x.args)) else pool.make(x.op, x.type, args, x.attr)
        return memo[id(x)]

    return visit(e)
