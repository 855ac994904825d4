"""Values that several groups would compute again, and which of them get memory instead."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from ..loop.nodes import ELEMENTWISE
from .group import Group
from .node import Node

__all__ = ["BARRIERS", "FREE", "cost", "operations", "shared"]

BARRIERS = frozenset({"reduce", "argreduce", "scan", "scatter", "update", "extern", "out"})
"""Values that are not computed inside of others' expressions."""
FREE = frozenset({"input", "scalar", "const", "size", "iota", "undef", "move", "reshape"})
"""Values that take no operation."""
_NEAR = 8  # steps apart within which a value that costs anything is kept rather than computed again
_FAR_COST = 48  # operations for an element from which on it is kept for longer
_LARGE_VALUE = 16_384  # elements of a value whose memory counts
_EXPENSIVE = frozenset({
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
    "cosh", "tanh",
    "asinh", "acosh", "atanh", "erf", "erfc", "erfinv", "sigmoid", "lgamma", "digamma", "pow", "atan2", "hypot", "fmod",
    "gcd", "ipow", "div", "gather",
})  # fmt: skip


def operations(node: Node) -> int:
    """How many operations on elements a value takes."""
    if node.op in ("reduce", "argreduce", "scan"):
        return math.prod(node.inputs[0].shape)
    return math.prod(node.shape) if node.op in ELEMENTWISE else 0


def shared(
    order: Sequence[Node], users: Mapping[int, Sequence[Node]], groups: Sequence[Group], placed: Collection[int]
) -> set[int]:
    """The values (by identity) that are worth memory because several groups compute them, at some cost.

    From the results backwards: what a value that gets memory is computed from is needed by one group fewer, or more.
    ``placed`` are the values that have memory.
    """
    computed: dict[int, set[int]] = {}
    inside: dict[int, set[int]] = {}
    for g in groups:
        for number, _ in g.memo:
            computed.setdefault(number, set()).add(g.number)
        for number in g.inside:
            inside.setdefault(number, set()).add(g.number)
    costs: dict[int, int] = {}
    needed: dict[int, set[int]] = {}  # the groups that compute a value once those of ``found`` have memory
    found: set[int] = set()
    nothing: set[int] = set()
    for n in reversed(order):
        own = computed.get(id(n), nothing)
        if not own or (len(own) < 2 and not found):
            needed[id(n)] = own
            continue
        steps = inside.get(id(n), nothing) & own
        seen: set[int] = set()
        for u in users.get(id(n), ()):
            at = inside.get(id(u), nothing) if u.op in BARRIERS else computed.get(id(u), nothing)
            seen |= at
            if id(u) in found:
                steps = steps | {min(needed[id(u)])}
            elif u.op in BARRIERS:
                steps = steps | (at & own)
            else:
                steps = steps | (needed[id(u)] & own)
        steps = steps | (own - seen)  # groups that compute it for itself
        needed[id(n)] = steps
        if len(steps) < 2 or id(n) in placed or n.op in FREE or n.op in BARRIERS or math.prod(n.shape) == 1:
            continue
        # Between distant steps, such as those of a forward and a backward pass, memory costs more than computing.
        far = max(steps) - min(steps) > _NEAR and math.prod(n.shape) >= _LARGE_VALUE
        if cost(n, costs, placed) >= (_FAR_COST if far else 6):
            found.add(id(n))
    return found


def cost(node: Node, known: dict[int, int], placed: Collection[int]) -> int:
    """Operations to compute one element from memory."""
    found = known.get(id(node))
    if found is None:
        if id(node) in placed or node.op in BARRIERS:
            found = 0
        else:
            own = 0 if node.op in FREE or node.op == "cast" else 8 if node.op in _EXPENSIVE else 1
            found = own + sum(cost(i, known, placed) for i in node.inputs)
        known[id(node)] = found
    return found
