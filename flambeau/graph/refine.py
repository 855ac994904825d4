"""Splitting the dimensions of a space so that reshapes under a value become affine.

A head of attention reads (n, t, h * d) as (n, t, h, d): in a loop over n, t and h * d that takes a division for every
element; in one over n, t, h and d it takes none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from ..layout import contiguous_strides
from .group import Place, mapped
from .index import Affine, Digit, Index, NotFusable, Opaque, reshaped
from .node import Map, Node

__all__ = ["Refined", "refine"]

_STOP = frozenset(
    {
        "input", "scalar", "const", "size", "iota", "undef", "reduce", "argreduce", "scan", "scatter", "update",
        "extern", "out",
    }
)  # fmt: skip


class Refined(NamedTuple):
    """A value with its dimensions split: ``parts`` are the sizes each dimension is split into."""

    node: Node
    parts: tuple[tuple[int, ...], ...]

    def place(self, place: Place) -> Place:
        """The place of the split value, of that of the whole one."""
        strides: list[int] = []
        for parts, stride in zip(self.parts, place.strides):
            strides += [s * stride for s in contiguous_strides(parts)]
        return place._replace(shape=self.node.shape, strides=tuple(strides))

    def map(self, map_: Map) -> Map:
        """A map of the whole value's index as one of the split value's."""
        firsts, at = [], 0
        for parts in self.parts:
            firsts.append(at)
            at += len(parts)
        result = []
        for offset, terms in map_:
            split: list[tuple[int, int]] = []
            for dim, c in terms:
                split += [(firsts[dim] + k, c * s) for k, s in enumerate(contiguous_strides(self.parts[dim]))]
            result.append((offset, tuple(split)))
        return tuple(result)


def refine(node: Node, placed: Callable[[Node], bool]) -> Refined | None:
    """``node`` over the space in which as many reshapes under it as possible are affine; None if it is the present
    one.  ``placed`` tells which values are in memory."""
    if 0 in node.shape:
        return None
    cuts: list[set[int]] = [set() for _ in node.shape]
    extents = node.shape
    seen: set[tuple[int, tuple[Index, ...]]] = set()
    full: tuple[Index, ...] = tuple(Affine(0, ((d, 1),)) if n != 1 else Affine(0, ()) for d, n in enumerate(extents))
    stack = [(node, full)]
    while stack:
        n, index = stack.pop()
        if (id(n), index) in seen or len(seen) > 4000:
            continue
        seen.add((id(n), index))
        if (n is not node and placed(n)) or 0 in n.shape:
            continue
        if n.op == "move":
            try:
                stack.append((n.inputs[0], tuple(mapped(o, terms, index) for o, terms in n.attrs[0])))
            except NotFusable:
                continue
        elif n.op == "reshape":
            try:
                inner = reshaped(n.inputs[0].shape, n.shape, index, extents)
            except NotFusable:
                continue
            for i in inner:
                if isinstance(i, Digit) and isinstance(i.value, Affine) and len(i.value.terms) == 1:
                    ((v, c),) = i.value.terms
                    if c == 1 and not i.value.const:
                        cuts[v] |= {i.div, i.div * i.mod}
            stack.append((n.inputs[0], inner))
        elif n.op == "gather":
            stack += [(i, index) for i in n.inputs[1:]]
        elif n.op not in _STOP and not any(isinstance(i, Opaque) for i in index):
            stack += [(i, index) for i in n.inputs]
    parts = [_parts(n, found) for n, found in zip(extents, cuts)]
    shape = tuple(k for p in parts for k in p)
    if shape == tuple(extents):
        return None
    made = Node()
    made.op, made.inputs, made.attrs, made.shape, made.type = "reshape", (node,), (), shape, node.type
    return Refined(made, tuple(parts))


def _parts(n: int, cuts: set[int]) -> tuple[int, ...]:
    """The sizes that ``n`` is split into at these steps; (n,) where they do not divide one another."""
    steps = sorted({1, n, *cuts})
    if any(b % a for a, b in zip(steps, steps[1:])):
        return (n,)
    sizes = tuple(b // a for a, b in zip(steps, steps[1:]))[::-1]
    return sizes if sizes and math.prod(sizes) == n else (n,)
