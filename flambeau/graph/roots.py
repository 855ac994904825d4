"""Which values of a graph get memory."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

from ..layout import contiguous_strides
from .node import Node
from .share import BARRIERS, FREE, cost

__all__ = ["roots_of", "unexpanded"]

_DEEP = 48  # operations on the longest path of one expression
_REPEATED = 2  # operations for an element that computing a repeated value each time it is read may take
_WORTH_A_KERNEL = 65_536  # operations


def roots_of(order: Sequence[Node], outputs: Iterable[Node], forced: Iterable[int]) -> set[int]:
    """The values (by identity) that need memory besides those that always have it: ``forced`` ones, results, operands
    that templates and indirect accesses read, what is repeated and would be computed each time, and what ends an
    expression that is too deep."""
    roots = set(forced)
    depth: dict[int, int] = {}
    costs: dict[int, int] = {}
    for n in order:
        if n.op == "extern":
            for i in n.inputs:
                base = _base(i)
                roots.add(id(i if base is None else base))
        elif n.op in ("gather", "scatter"):
            if n.op == "gather":
                base = n.inputs[0]
                while base.op in ("move", "reshape", "cast"):
                    base = base.inputs[0]
                roots.add(id(base))
            elif not _constant(n.inputs[0]):
                roots.add(id(n.inputs[0]))
            for i in n.inputs[2:] if n.op == "scatter" else ():
                i = unexpanded(i)
                while i.op == "cast":  # cheap enough to be done twice, by the check and by the scatter
                    i = i.inputs[0]
                roots.add(id(i))
        elif n.op == "move":
            base = unexpanded(n)
            if base.op not in BARRIERS and base.op not in FREE and _recomputed(n, base, costs, roots):
                roots.add(id(base))
                costs[id(base)] = 0
        elif n.op == "update" and not _constant(n.inputs[0]):
            roots.add(id(n.inputs[0]))
        d = (
            0
            if n.op in BARRIERS or id(n) in roots
            else (n.op not in FREE) + max((depth[id(i)] for i in n.inputs), default=0)
        )
        if d > _DEEP:
            roots.add(id(n))
            d = 0
        depth[id(n)] = d
    return roots.union(map(id, outputs))


def _recomputed(node: Node, base: Node, costs: dict[int, int], roots: Collection[int]) -> bool:
    """Whether computing ``base`` wherever its repetition ``node`` is read takes far more than once into memory.

    Loops carry a value over the dimensions inside of those that it has, so only the others count.
    """
    own = [t[0] for _, terms in node.attrs[0] for t in terms if node.shape[t[0]] > 1]
    times = math.prod(node.shape[: max(own, default=-1) + 1])
    again = times - math.prod(base.shape)
    if again < 3 * math.prod(base.shape):
        return False
    saved = again * cost(base, costs, roots)
    return saved >= _WORTH_A_KERNEL and saved >= _REPEATED * math.prod(node.shape)


def _base(node: Node) -> Node | None:
    """The value in memory of which ``node`` is a strided view, or None."""
    n = node
    while n.op == "move":
        n = n.inputs[0]
    if n.op != "reshape":
        return n if n.op not in ("const", "scalar", "size", "iota", "undef") else None
    inner = n.inputs[0]
    if inner.op == "input":
        return inner if inner.attrs[1] == contiguous_strides(inner.shape) else None
    return inner if inner.op in BARRIERS or inner.op not in FREE else None  # it will be contiguous


def _constant(node: Node) -> bool:
    """Whether a value is the same number everywhere, which is as well written anew wherever it is changed."""
    while node.op in ("move", "reshape"):
        node = node.inputs[0]
    return node.op in ("undef", "const", "scalar", "size")


def unexpanded(node: Node) -> Node:
    """The value that ``node`` repeats along some dimensions, or ``node``."""
    while node.op == "move":
        base = node.inputs[0]
        for n, (offset, terms) in zip(base.shape, node.attrs[0]):
            if offset or len(terms) > 1 or (terms and (terms[0][1] != 1 or node.shape[terms[0][0]] != n)):
                return node
            if not terms and n != 1:
                return node
        node = base
    return node
